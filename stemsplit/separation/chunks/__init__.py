"""Separate a song in overlapping chunks, as a stream of blocks."""
