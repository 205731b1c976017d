"""Data that the pages and the API share: the current request's version, served and published versions, health."""
