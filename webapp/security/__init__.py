"""Who may do what: access, hosts and headers, secret files."""
