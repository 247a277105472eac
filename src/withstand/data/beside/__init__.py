"""Tables beside the data: what is known of samples, found by their names."""
