"""Recipes of attacks that are learnt on an earlier run."""
