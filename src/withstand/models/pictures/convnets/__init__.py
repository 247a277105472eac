"""Convolutional encoders and autoencoders."""
