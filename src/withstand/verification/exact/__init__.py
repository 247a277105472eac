"""Exact answers for small networks: mixed-integer programming and SMT."""
