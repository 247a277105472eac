"""Text: pairs of answers to a prompt, how prompts and drafts are put into words for a model, and ids with masks."""
