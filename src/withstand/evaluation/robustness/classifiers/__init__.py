"""The audit of a classifier's accuracy under attack."""
