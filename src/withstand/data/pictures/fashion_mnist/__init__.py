"""Part of Fashion-MNIST, kept in this package."""
