"""Methods that train for inputs that an adversary has changed."""
