"""The options of ``derain-eval`` and of `derain.evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import click

from derain.core.commands import COUNT, THREADS
from derain.core.options import option
from derain.runtime.backends import AUTO, BACKENDS, REFERENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """How to measure quality.

    Attributes:
        weights: Checkpoint of the network, or the folder of a training run; none: the
            weights that ship.
        backend: What runs bundles.
        dry: Derain the clean pictures, which should stay as they are.
        every: Of so many pairs, one.
        threads: Processor threads; 0 takes one per core.
    """

    weights: Path | None = option(
        None,
        "Its checkpoint, or the folder of a training run; by default those that "
        "ship with the package.",
        kind=click.Path(path_type=Path),
    )
    backend: str = option(
        REFERENCE,
        "What runs bundles.",
        kind=click.Choice([AUTO, *BACKENDS]),
        show_default=True,
    )
    dry: bool = option(False, "Derain the clean pictures instead.")
    every: int = option(1, "Of so many, one.", kind=COUNT)
    threads: int = option(0, "0: one a core.", kind=THREADS)


class EvaluateKeywords(TypedDict, total=False):
    """The keywords of `derain.evaluate`: see `EvaluateOptions`."""

    weights: str | Path | None
    backend: str
    dry: bool
    every: int
    threads: int
