"""Attacks that know the defense they face."""
