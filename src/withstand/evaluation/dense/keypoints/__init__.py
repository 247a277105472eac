"""Points and masks beside their truth."""
