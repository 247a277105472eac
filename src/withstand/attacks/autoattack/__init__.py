"""AutoAttack and the attacks that it runs."""
