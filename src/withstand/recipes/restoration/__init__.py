"""Recipes of methods that give pictures back."""
