"""Network architectures. They estimate masks, spectra of the stems, or waveforms of the stems."""
