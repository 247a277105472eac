"""What a representation holds, and how it lies."""
