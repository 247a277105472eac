"""What every source shares: labels, groups, digests, rows, the folder of caches."""
