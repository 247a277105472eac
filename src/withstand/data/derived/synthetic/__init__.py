"""Pictures that are made of others for trials: composites, scenes, colored and generated ones."""
