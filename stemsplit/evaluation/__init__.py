"""Scores of separated stems, and how sure one can be of them."""
