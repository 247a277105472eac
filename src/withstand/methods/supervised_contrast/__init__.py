"""Contrast by labels."""
