"""RAW frames: what a sensor recorded."""
