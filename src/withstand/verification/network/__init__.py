"""From a model to a small graph of operations that can be bounded."""
