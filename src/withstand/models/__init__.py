"""Encoders, heads and adapters: networks from samples to features."""
