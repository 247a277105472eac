"""Claims about methods that change what a trained network knows."""
