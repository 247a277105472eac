"""Attacks in training: the inner attack, what it raises, and how samples are weighed."""
