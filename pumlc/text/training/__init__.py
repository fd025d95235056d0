"""The loss of a step, its negatives, its gradients, its division over processes."""
