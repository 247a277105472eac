"""Recipes of networks that withstand attacks."""
