"""Methods that learn from what people took."""
