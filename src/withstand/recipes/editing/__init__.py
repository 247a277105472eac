"""Recipes that change what a trained network knows."""
