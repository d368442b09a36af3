"""Songs decoded once, and read from memory-mapped arrays."""
