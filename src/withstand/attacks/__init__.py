"""Floor 2: attacks on inputs, and the checks that make their results believable."""
