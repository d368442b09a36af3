"""Augmentation of excerpts on the device."""
