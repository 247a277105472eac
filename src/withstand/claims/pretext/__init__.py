"""Claims of recipes of made-up tasks."""
