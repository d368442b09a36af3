"""What can be wrong with a corpus, and how it is found."""
