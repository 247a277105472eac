"""A modality of one's own on withstand's parts: see `docs/your-own-parts.md`."""
