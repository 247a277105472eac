"""Methods that learn maps: something for every pixel."""
