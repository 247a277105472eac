"""Bounds on what a captured network gives over a region: intervals, CROWN, and CROWN with optimised slopes."""
