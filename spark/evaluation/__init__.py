"""Evaluation: metrics of lists and ratings, their intervals, user segments, and the tuning objective."""
