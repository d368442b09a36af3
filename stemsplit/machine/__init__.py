"""Adapt to the computer: folders for caches, the memory allocator, the cores."""
