"""What views and API share: the versions that are served, the request's version, health."""
