"""Floor 3: what a representation is worth and what it withstands."""
