"""From the files of a corpus to random excerpts of its stems."""
