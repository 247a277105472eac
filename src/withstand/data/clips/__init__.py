"""Clips: frames of one thing at several times."""
