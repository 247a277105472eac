"""Floor 1: pure functions on embeddings and logits, by kind."""
