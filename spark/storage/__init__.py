"""Files that stages exchange: Parquet tables, Arrow files, and the interaction matrix."""
