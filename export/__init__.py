"""From a PyTorch network to a proven bundle: ``derain.export("qsnet")``."""

from derain.core.callable_package import make_callable

make_callable(__name__, "derain.export.pipeline", "export", extra="export")
