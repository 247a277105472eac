"""Audits, corruptions and certificates of a network."""
