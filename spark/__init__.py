"""The Spark jobs: pure `DataFrame -> DataFrame` transforms, the algorithms, and the session they run in."""
