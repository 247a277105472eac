"""Floor 0: the few values and rules that everything else stands on."""
