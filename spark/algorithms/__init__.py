"""The algorithms that compete, each a module with `fit` and `load`."""
