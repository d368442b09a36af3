"""Synthesis of the demo songs: composition, drums, bass, chords and singing."""
