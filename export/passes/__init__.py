"""Graph passes: each a module, each leaving the result as it was, only faster."""
