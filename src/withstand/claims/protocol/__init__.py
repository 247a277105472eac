"""How claims are put to the test: arms, measures, comparison seed by seed, and what is kept."""
