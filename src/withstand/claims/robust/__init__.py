"""Claims of robust recipes."""
