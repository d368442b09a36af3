"""Training: the LightningModule, its loggers and its callbacks."""
