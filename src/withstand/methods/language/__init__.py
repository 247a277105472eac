"""Methods that tune language models."""
