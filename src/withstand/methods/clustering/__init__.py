"""Methods that learn to predict which of a set of prototypes another view belongs to."""
