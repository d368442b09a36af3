"""Choose and read the excerpts of an epoch."""
