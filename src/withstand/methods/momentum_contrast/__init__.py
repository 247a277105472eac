"""Contrast against keys of a momentum encoder: MoCo and what builds on it."""
