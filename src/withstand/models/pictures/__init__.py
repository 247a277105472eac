"""Encoders of pictures, and what wraps round them."""
