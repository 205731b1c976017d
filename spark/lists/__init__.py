"""Recommendation lists: top-k, fallbacks, rules, explanations."""
