"""Trained models on disk: publishing, promoting, and answering from a published version without a JVM.

The versions themselves lie beside this code, in `models/<dataset>/<version>/`, ignored by git.
"""
