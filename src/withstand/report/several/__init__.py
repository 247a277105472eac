"""Several runs or networks beside one another."""
