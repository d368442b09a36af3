"""The architectures: plain modules that map views of the mixture to a mask."""
