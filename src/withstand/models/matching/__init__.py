"""Matching of graphs: solvers, their gradients, and what makes graphs of features."""
