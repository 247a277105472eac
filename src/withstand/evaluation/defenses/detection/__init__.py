"""How well a defense tells attacked inputs from clean ones."""
