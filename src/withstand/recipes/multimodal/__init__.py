"""Recipes on pictures with texts."""
