"""Claims of recipes on pictures with texts."""
