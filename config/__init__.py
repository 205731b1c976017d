"""Where things are, what a dataset looks like, and the errors a user can cause. Imports nothing of ours."""
