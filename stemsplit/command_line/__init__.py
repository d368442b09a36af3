"""A command line made ready for Hydra, and checked before anything is written."""
