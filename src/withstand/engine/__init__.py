"""Floor 4: training, checkpoints, run folders."""
