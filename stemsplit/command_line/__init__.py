"""Prepare and check a command line before Hydra writes anything."""
