"""Recipes that tune language models."""
