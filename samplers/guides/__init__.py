"""What pulls a walk: spectra, and whatever else can be asked of a structure."""
