"""From raw files to encoded interactions: read, parse, encode, describe, check."""
