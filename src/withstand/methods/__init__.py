"""Floor 3: training objectives, one file per system."""
