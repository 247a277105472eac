"""Training objectives, one file per system, in folders by learning signal."""
