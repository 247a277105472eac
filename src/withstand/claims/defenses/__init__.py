"""Claims of defenses."""
