"""Network architectures, which estimate masks, or the spectra or waveforms of the stems."""
