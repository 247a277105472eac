"""Arrays in memory and in files as sources."""
