"""Objectives that decorrelate features."""
