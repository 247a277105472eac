"""Pictures in tar shards, as WebDataset lays them out: found by an index, read at random."""
