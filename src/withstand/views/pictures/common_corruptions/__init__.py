"""The fifteen common corruptions, and the filters that they are made of."""
