"""Claims of recipes on what people took."""
