"""What may change a result to save time: used by `search="fast"` alone."""
