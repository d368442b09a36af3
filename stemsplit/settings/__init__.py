"""Declare the type and range of every setting, and check them before any work begins."""
