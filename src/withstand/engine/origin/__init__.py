"""What a run came from: where its data lie, and whose weights it began with."""
