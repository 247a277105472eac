"""Networks on graphs: GAT, GIN and GCN, on plain torch."""
