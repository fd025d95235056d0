"""Labels with and without training documents in one ranking: least squares and label texts."""
