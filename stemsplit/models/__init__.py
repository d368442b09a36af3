"""The architectures: plain modules from views of the mixture to a mask."""
