"""Claims of recipes that make views agree."""
