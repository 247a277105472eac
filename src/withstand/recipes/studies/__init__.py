"""Recipes that look into what is learnt."""
