"""Claims of methods that tune language models."""
