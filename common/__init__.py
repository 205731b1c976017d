"""What every package uses: durable files, locks, errors, redaction, log lines and the terminal."""
