"""Formatting values, building links and drawing charts for the templates."""
