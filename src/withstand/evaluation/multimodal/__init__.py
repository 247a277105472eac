"""Pictures and texts: retrieval, and prompts that are learnt."""
