"""Networks on table rows."""
