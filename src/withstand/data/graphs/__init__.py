"""Graphs: what stands in a batch for one graph's nodes or for a set of graphs, and the sources that give it."""
