"""A table in its own units: what became of its columns, and rows given back as they came."""
