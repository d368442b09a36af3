"""Network architectures: modules that estimate masks, or the waveforms of the stems."""
