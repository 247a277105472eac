"""Attacks that were learnt beforehand, and cost one pass to run."""
