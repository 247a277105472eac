"""What detectors, purifiers and searches for backdoors are worth, and which copy an attack was made on."""
