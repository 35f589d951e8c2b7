"""Weights that ship with the package: ``<model>.safetensors`` and their records."""
