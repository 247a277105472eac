"""Losses on pairs of answers of which one is preferred, and the log-probabilities that they read."""
