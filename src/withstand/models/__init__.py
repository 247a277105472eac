"""Floor 1: encoders, heads and adapters."""
