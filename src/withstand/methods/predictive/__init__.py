"""Methods that predict hidden representations from seen ones."""
