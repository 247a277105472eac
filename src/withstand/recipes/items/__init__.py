"""Recipes on what people took."""
