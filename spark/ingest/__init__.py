"""Raw files to interactions: read, parse, encode, write the catalogue, profile, check."""
