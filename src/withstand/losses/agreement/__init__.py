"""Losses that draw views together, and keep embeddings from collapsing without negatives."""
