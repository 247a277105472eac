"""Floor 1: sources of samples."""
