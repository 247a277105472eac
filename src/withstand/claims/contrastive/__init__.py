"""Claims of contrastive recipes."""
