"""Decode songs once and read them from memory-mapped arrays."""
