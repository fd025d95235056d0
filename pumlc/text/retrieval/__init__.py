"""Finding and ranking the labels of embedded documents."""
