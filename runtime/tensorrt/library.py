"""Import TensorRT or TensorRT-RTX: the one place that does."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.runtime.tensorrt.engine_record import EngineBackend

if TYPE_CHECKING:
    import tensorrt as trt

MODULES: dict[EngineBackend, str] = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
_INSTALL: dict[EngineBackend, str] = {
    "tensorrt": "it comes with JetPack, and a venv sees it when made with "
    "--system-site-packages; elsewhere run: pip install tensorrt",
    "tensorrt-rtx": "run: pip install 'derain[tensorrt-rtx]'",
}
_PARSING = re.compile(r"Parsing node: (.*) \[(\w+)\]")
_LOG = logging.getLogger("derain.tensorrt")


@dataclass(slots=True)
class Messages:
    """What the library has said so far.

    Attributes:
        warnings: Distinct warnings, in the order they came.
        errors: Errors, in the order they came.
        node: Name and operator of the node that the parser came to last; empty before.
    """

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    node: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Api:
    """An imported library.

    Attributes:
        name: Which of the two.
        trt: Its module.
        version: Its version: ``"10.3.0"``.
        logger: The one logger that everything of this library shares.
        messages: What went through the logger.
    """

    name: EngineBackend
    trt: Any
    version: str
    logger: trt.ILogger
    messages: Messages


def installed() -> list[EngineBackend]:
    """The libraries that are installed, TensorRT first; none is imported."""
    return [name for name, module in MODULES.items() if _is_module(module)]


@functools.cache  # TensorRT takes one logger per process: the first one stays
def open_api(name: EngineBackend) -> Api:
    """Import the library called `name` and give it its logger.

    Raises:
        EngineError: It is not installed, or its libraries do not load.
    """
    module = MODULES[name]
    if not _is_module(module):
        raise EngineError(f"{module} is not installed; {_INSTALL[name]}")
    try:
        trt = importlib.import_module(module)
    except (ImportError, OSError) as error:  # a library of CUDA or TensorRT is missing
        reason = " ".join(str(error).split())
        raise EngineError(f"{module} does not load: {reason}") from error
    messages = Messages()
    return Api(name, trt, str(trt.__version__), _logger(trt, messages), messages)


def _is_module(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    # The package tensorrt-stubs leaves a folder called tensorrt that has no code.
    return spec is not None and spec.origin is not None


def _logger(trt: Any, messages: Messages) -> trt.ILogger:
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.CRITICAL,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]  # chosen when the program runs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            level = levels[severity]
            text = " ".join(msg.split())
            if level >= logging.ERROR:
                messages.errors.append(text)
            elif level == logging.WARNING and text not in messages.warnings:
                messages.warnings.append(text)
            elif parsing := _PARSING.fullmatch(text):
                messages.node = (parsing[1], parsing[2])
            _LOG.log(level, text)

    return Logger()
