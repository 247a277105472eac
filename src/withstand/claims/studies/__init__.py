"""Claims of studies of what is learnt."""
