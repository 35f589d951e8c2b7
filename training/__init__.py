"""Training and evaluation of the networks."""
