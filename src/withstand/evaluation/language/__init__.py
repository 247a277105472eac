"""Judges of language models: what they say, and what makes them say something else."""
