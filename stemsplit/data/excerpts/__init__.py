"""Choose and cut the excerpts of an epoch."""
