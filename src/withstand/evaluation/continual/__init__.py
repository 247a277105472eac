"""What later learning, or editing, did to a network that was trained before."""
