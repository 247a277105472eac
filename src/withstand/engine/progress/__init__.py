"""What is watched while a run trains: its time, and what of a batch nobody read."""
