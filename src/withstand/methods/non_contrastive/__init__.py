"""Methods that learn from agreeing views alone."""
