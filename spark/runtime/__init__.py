"""Spark itself: the session, worker tasks, the JVM, clusters, code for the workers."""
