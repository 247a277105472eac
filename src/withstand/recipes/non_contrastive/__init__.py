"""Recipes that make views agree without telling samples apart."""
