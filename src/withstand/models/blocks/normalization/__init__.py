"""Layers that set the mean and spread of features or of their channels."""
