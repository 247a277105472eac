"""Methods that ask other things of a network beside, or before, its labels."""
