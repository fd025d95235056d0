"""A text run whose encoder is frozen: kernel least squares on embeddings and words."""
