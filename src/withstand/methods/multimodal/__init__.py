"""Methods that learn from pictures together with texts."""
