"""How a boundary lies against the data: boundary tilting."""
