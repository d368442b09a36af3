"""Examine a corpus for faults."""
