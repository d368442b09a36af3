"""Separate song files into stem files: which songs, which files, in which format."""
