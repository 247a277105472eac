"""Records of one or two tables, the pairs of them that are known, and those that are worth comparing."""
