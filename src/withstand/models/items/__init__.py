"""Networks on fields of categories, as those of items."""
