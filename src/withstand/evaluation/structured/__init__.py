"""What encoders of graphs and tables are worth, and withstand."""
