"""Methods whose targets another network gives: a slow teacher, or the network itself without gradient."""
