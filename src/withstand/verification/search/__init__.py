"""Complete search: a region is split until every part is decided."""
