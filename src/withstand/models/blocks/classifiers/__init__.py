"""Classifiers on an encoder."""
