"""Claims of recipes that predict what was hidden."""
