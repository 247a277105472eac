"""Losses between what is given back and what was hidden or spoilt."""
