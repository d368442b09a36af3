"""Measure the stages of a program; used by the benchmark `stages.py`."""
