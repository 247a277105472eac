"""Recipes that predict what was hidden."""
