"""What a graph says by its edges: distances, regions, labels that spread and are corrected."""
