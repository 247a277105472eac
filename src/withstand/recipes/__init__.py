"""Floor 5: one file per system: how to run it, and the claim it makes."""
