"""Which excerpts an epoch takes, and where they are cut."""
