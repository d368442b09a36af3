"""Separate a mixture into stems: front end, mask, Wiener filter, overlap-add, checkpoints."""
