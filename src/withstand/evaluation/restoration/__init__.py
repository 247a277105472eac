"""How near restored pictures are to the true ones."""
