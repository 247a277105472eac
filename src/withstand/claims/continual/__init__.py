"""Claims of methods that go on from what was learnt before."""
