"""Claims about maps."""
