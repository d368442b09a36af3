"""Listers: one function for each layout of a corpus."""
