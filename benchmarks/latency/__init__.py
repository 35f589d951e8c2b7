"""How fast: candidates that take turns, and the machine they run on."""
