"""Separate mixtures into stems; build, load, save and download separators."""
