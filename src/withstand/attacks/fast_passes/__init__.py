"""Faster passes through a frozen network, with the same outputs and slopes."""
