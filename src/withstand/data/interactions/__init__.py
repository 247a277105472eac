"""Interactions: who took which item, when; and the catalogue of items with their fields."""
