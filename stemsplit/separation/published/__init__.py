"""Weights that others published: a catalogue of names, and their download."""
