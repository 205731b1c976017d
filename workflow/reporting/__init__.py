"""What a run reports: terminal, log, progress and summary."""
