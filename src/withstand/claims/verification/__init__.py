"""Claims of proofs and searches."""
