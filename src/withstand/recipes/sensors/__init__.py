"""Recipes on sensors that record at the same time."""
