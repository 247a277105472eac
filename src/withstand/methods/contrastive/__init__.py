"""Methods that pull views of one sample together and push others apart."""
