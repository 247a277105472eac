"""What is written for others: features, attacked rows."""
