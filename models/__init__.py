"""The deraining networks, their checkpoints and their training; needs torch."""
