"""The subcommands of `python -m workflow`."""
