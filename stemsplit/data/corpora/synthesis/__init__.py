"""Synthesis of the demo songs: a composer, a drummer, a bassist, keyboards and a singer."""
