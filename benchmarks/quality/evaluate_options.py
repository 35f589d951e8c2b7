"""The options of ``derain-eval`` and of `derain.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import click

from derain.core.commands import COUNT, THREADS, Whole
from derain.core.options import option, same_option
from derain.export.options import ExportOptions
from derain.models.forward_inputs import Feed
from derain.runtime.backends import REFERENCE
from derain.runtime.backends.choice import BackendChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """How to measure quality.

    Attributes:
        weights: Checkpoint of the network, or the folder of a training run; none: the
            weights that ship.
        backend: What runs bundles.
        dry: Derain the clean pictures, which should stay as they are.
        every: Of so many pairs, one; of a clip's frames, which are all derained, too.
        add_rain: Clean clips get this rain: a preset, or a TOML file of settings.
        seed: Which rain.
        bgr: The network works on BGR.
        rain: The network returns the rain layer.
        output_index: Which of several outputs is meant, from 0.
        multiple_of: Height and width are padded to a multiple of this, in pixels.
        minimum: Smallest height and width that the network takes, in pixels.
        window: Frames that the network sees at once.
        look_ahead: How many frames after the one that it derains it has seen.
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
        kind=BackendChoice(),
        show_default=True,
    )
    dry: bool = option(False, "Derain the clean pictures instead.")
    every: int = option(
        1, "Of so many, judge one; of a clip, all frames are derained.", kind=COUNT
    )
    add_rain: str = option(
        "",
        "Render this rain on the clean frames of --clips: light, moderate, heavy, "
        "downpour, or a TOML file of settings such as length_px = 30, in pixels of a "
        "picture 480 lines high.",
        metavar="RAIN",
    )
    seed: int = option(0, "Which rain.", kind=Whole(0, 2**32 - 1))
    bgr: bool = same_option(ExportOptions, "bgr")
    rain: bool = same_option(ExportOptions, "rain")
    args: tuple[tuple[str, Any], ...] = same_option(ExportOptions, "args")
    inputs: tuple[tuple[str, Feed], ...] = same_option(ExportOptions, "inputs")
    value_range: tuple[float, float] | None = same_option(ExportOptions, "value_range")
    output_index: int | None = same_option(ExportOptions, "output_index")
    multiple_of: int | None = same_option(ExportOptions, "multiple_of")
    minimum: int | None = same_option(ExportOptions, "minimum")
    window: int | None = same_option(ExportOptions, "window")
    look_ahead: int | None = same_option(ExportOptions, "look_ahead")
    threads: int = option(0, "0: one a core.", kind=THREADS)


class EvaluateKeywords(TypedDict, total=False):
    """The keywords of `derain.evaluate`: see `EvaluateOptions`."""

    weights: str | Path | None
    backend: str
    dry: bool
    every: int
    add_rain: str
    seed: int
    bgr: bool
    rain: bool
    args: Mapping[str, Any]
    inputs: Mapping[str, str]
    value_range: str | tuple[float, float] | None
    output_index: int | None
    multiple_of: int | None
    minimum: int | None
    window: int | None
    look_ahead: int | None
    threads: int
