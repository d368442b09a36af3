"""Listers: for each layout of a corpus, a function that lists its tracks."""
