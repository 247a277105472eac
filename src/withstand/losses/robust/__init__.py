"""Losses and weights of adversarial training."""
