"""Access control, sessions, allowed hosts, response headers and secret files."""
