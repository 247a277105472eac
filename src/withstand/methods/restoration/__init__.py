"""Methods that give back what was spoilt."""
