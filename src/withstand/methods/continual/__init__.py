"""Methods that go on from what an earlier stage learnt, with further data."""
