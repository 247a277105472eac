"""Windows of several sensors that record one person, or one machine, at the same time."""
