"""Methods that hide a part of each sample and tell it from the rest."""
