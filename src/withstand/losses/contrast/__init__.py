"""Losses that push samples apart."""
