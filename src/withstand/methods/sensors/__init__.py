"""Methods that learn from sensors that record at the same time."""
