"""Pictures in one `.npz` file, with points, masks, or one array a kind."""
