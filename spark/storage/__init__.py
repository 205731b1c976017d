"""Tables and matrices that Spark's tasks read and write."""
