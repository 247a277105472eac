"""Recipes of proofs and of searches for wrong decisions."""
