"""Scores of separated stems, with confidence intervals."""
