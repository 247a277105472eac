"""How texts write numbers and dates: marks, signs, the order of day and month, and what is told of it."""
