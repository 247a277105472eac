"""Attacks on language models: what comes before an answer is moved, as embeddings or token by token."""
