"""Claims on contrast against keys of a momentum encoder."""
