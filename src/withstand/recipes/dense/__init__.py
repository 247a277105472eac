"""Recipes that learn maps."""
