"""Sources made of other sources: parts of them, groups, other sizes, other balances."""
