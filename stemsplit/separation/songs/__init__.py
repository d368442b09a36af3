"""Separate song files into stem files: list songs, name files, choose stems, write formats."""
