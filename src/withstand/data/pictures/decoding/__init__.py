"""Picture files: which there are, how they are decoded, and what is kept of them."""
