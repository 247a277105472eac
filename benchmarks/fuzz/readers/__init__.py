"""What is fuzzed: one module a reader, found by its name, with `READER = Reader(...)`."""
