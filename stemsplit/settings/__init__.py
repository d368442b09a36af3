"""Declare the type and range of every setting, and check all settings before any work begins."""
