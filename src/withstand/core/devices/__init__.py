"""Where networks run: devices, and several processes."""
