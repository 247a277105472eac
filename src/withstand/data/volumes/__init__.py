"""Volumes: scans in three dimensions, and the slices that they are cut into."""
