"""How far pictures within eps steer what a vision-language model says."""
