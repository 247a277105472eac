"""The only wrapper round a model under attack, and how its outputs are read."""
