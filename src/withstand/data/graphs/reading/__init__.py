"""How graphs are read: tables of edges and of nodes, and what is made of attributes."""
