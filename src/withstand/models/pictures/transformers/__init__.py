"""Vision Transformers: encoders of patches, published weights, decoders of hidden patches."""
