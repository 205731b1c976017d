"""Stage outputs: fingerprints, integrity and retention."""
