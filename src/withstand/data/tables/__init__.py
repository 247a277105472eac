"""Tables: reading them, what their columns are, and rows as numbers."""
