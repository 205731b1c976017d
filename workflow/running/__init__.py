"""One run: its context, plan, record, and how it ends."""
