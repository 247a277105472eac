"""Methods that learn attacks on a network which stays as it is."""
