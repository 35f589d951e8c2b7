"""The deraining networks and their checkpoints; ``derain.models()`` is the table."""

from derain.core.callable_package import make_callable

make_callable(__name__, "derain.models.registry", "models")
