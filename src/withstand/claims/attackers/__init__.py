"""Claims about attacks that are learnt."""
