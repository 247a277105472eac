"""Pure functions on embeddings and logits, by kind. Each works alone, in anyone's training loop."""
