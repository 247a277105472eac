"""Recipes that go on from what was learnt before, with further data."""
