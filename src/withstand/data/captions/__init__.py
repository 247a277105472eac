"""Pictures with captions: what was written about each, as numbers of words."""
