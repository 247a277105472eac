"""Recipes that learn from a made-up task."""
