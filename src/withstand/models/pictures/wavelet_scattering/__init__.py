"""Wavelet scattering, and an encoder that begins with it."""
