"""Recipes that tell views of one sample from other samples."""
