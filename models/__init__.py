"""Published versions: writing, registering, promoting and reading them, without a JVM.

The versions themselves are beside this code, in `models/<dataset>/<version>/`, ignored by git.
"""
