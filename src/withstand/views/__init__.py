"""Floor 1: batched views with per-sample draws."""
