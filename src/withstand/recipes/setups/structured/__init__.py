"""What recipes on tables, graphs, records, flows and windows share."""
