"""What methods put on, round or beside an encoder."""
