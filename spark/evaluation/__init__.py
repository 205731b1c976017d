"""Metrics of recommendation lists, their confidence intervals, and the objective of tuning."""
