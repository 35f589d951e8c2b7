"""How good: pictures against the truth."""
