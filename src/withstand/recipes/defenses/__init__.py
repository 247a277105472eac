"""Recipes that guard a trained classifier."""
