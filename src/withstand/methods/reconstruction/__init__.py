"""Methods that learn by giving back what they were given."""
