"""What papers claim, put to the test: one file a claim, in the folder of its recipe's family."""
