"""Separate mixtures into stems; build, load, save and download the separators that do so."""
