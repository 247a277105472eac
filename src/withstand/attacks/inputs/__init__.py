"""Attacks on inputs that climb gradients, or walk to a boundary, and the noise that they must beat."""
