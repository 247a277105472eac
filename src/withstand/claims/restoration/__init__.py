"""Claims of methods that give pictures back."""
