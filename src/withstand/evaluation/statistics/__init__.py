"""Intervals of accuracies, and calibration of probabilities."""
