"""Networks on windows of sensor readings."""
