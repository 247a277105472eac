"""The audit of a bare encoder: how far an adversary moves its embeddings, and what heads on it make of that."""
