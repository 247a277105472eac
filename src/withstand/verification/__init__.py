"""Certificates: what a network provably withstands, or a counterexample, or an honest "unknown"."""
