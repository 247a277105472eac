"""Claims of recipes on sensors that record at the same time."""
