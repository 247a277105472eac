"""Pictures in folders and named sets: found, decoded, cached."""
