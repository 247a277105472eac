"""Methods that change what a trained network knows."""
