"""Recipes of methods that learn a small set in place of a large one."""
