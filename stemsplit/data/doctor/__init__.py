"""Find faults of a corpus in its files, headers and audio."""
