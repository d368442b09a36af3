"""Read the songs of a corpus and make batches of excerpts."""
