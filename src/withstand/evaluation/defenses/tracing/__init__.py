"""Which of several copies of a classifier adversarial examples were made on."""
