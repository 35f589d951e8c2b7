"""The options of a model in Triton's repository, each once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from derain.core.commands import Number, Whole
from derain.core.errors import ConfigError
from derain.core.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonOptions:
    """How Triton is to serve a bundle.

    Raises:
        ConfigError: A value makes no sense.
    """

    name: str | None = option(
        None,
        "Name of the model.  [default: that of the bundle's folder]",
        metavar="NAME",
    )
    engine: bool = option(
        False,
        "Serve the engine that derain-compile has put into the bundle. Only on such a "
        "GPU, and with the same TensorRT in the server.",
    )
    max_batch: int = option(
        8,
        "Frames of several cameras at once, of a bundle with a free batch.",
        kind=Whole(1, 1024),
        show_default=True,
    )
    sequences: int = option(
        64,
        "Cameras that may be served at a time, of a bundle with a memory; each costs "
        "its states.",
        kind=Whole(1, 10**6),
        show_default=True,
    )
    idle: float = option(
        60.0,
        "After how long without a frame a camera's memory is given up.",
        kind=Number(0.1, 10**7),
        metavar="SECONDS",
        show_default=True,
    )
    force: bool = option(False, "Replace a model that derain-triton has made.")

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ConfigError(
                f"{self.name!r} is no name of a model: wanted letters, digits, _, - "
                "and dots"
            )
