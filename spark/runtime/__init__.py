"""Spark's session, worker tasks, Java, clusters, and the code that workers need."""
