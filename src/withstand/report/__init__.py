"""Floor 4: one HTML page that tells what a run learnt and withstands."""
