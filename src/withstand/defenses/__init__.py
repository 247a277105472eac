"""Guards round a victim at inference: detectors that reject inputs."""
