"""Listers: one function per layout, which lists the tracks of a corpus with this layout."""
