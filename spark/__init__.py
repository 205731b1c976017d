"""The Spark jobs: ingest, split, train, evaluate and recommend; and the session in which they run."""
