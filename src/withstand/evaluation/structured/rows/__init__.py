"""Rows of a table judged: which are fitted to and which are judged, and the scores that people go by."""
