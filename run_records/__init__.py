"""Run records: written by the pipeline, read and drawn by the command line and the page."""
