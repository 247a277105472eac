"""Networks that give something for every pixel."""
