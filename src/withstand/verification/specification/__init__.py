"""What is to be proven: of which network, on which region of inputs, and what came of it."""
