"""Shared by all packages: durable files and directories, locks, errors, redaction, formats and the terminal."""
