"""Networks that give pictures back: autoencoders, and what is built of them."""
