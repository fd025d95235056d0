"""The dual encoder and what it is made of."""
