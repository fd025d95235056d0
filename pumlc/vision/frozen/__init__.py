"""Features of a frozen backbone, and heads on them."""
