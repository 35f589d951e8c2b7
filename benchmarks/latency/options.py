"""The options of a benchmark, for ``derain-bench`` and for `derain.benchmark`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypedDict

import click

from derain.benchmarks.latency.candidates import CANDIDATES, GIVEN
from derain.benchmarks.own_network import own_network_values
from derain.core.commands import COUNT, SECONDS, SIZE, THREADS
from derain.core.options import option, same_option
from derain.core.sizes import Size, SizeLike
from derain.export.options import ExportOptions
from derain.models.forward_inputs import Feed
from derain.runtime.backends import BACKENDS

DEFAULT_SIZE = Size(1280, 720)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """How to measure.

    Attributes:
        size: Of the frames; none: 1280x720.
        rows: Names in `derain.benchmarks.latency.candidates.CANDIDATES`; none: all.
        backends: What runs bundles and plain graphs; none: all that are there.
        threads: Processor threads of every row; 0 takes one per core.
        weights: Checkpoint of the one network.
        random_weights: Untrained weights.
        calibrate_on: Frames to calibrate INT8 rows on; or
        calibration: the file of ``derain-calibrate`` for them. Without both there are
            no INT8 rows.
        bgr: The network works on BGR.
        rain: The network returns the rain layer.
        output_index: Which of several outputs is meant, from 0.
        multiple_of: Height and width are padded to a multiple of this, in pixels.
        minimum: Smallest height and width that the network takes, in pixels.
        window: Frames that the network sees at once.
        look_ahead: How many frames after the one that it derains it has seen.
        pairs: Folder of rainy and clean pictures.
        most_pairs: Take no more of them.
        duration: Seconds of measured rounds for each table.
        min_rounds: Least number of rounds.
        warm_up: Most seconds until a row has settled.
        one_process: All rows in this process.
        work: Folder to export into; none: a temporary one.
        together: Bundles of one size take turns in one table.
        quick: A first answer: `QUICK` where nothing else was asked for.
    """

    size: tuple[Size, ...] = option(
        (),
        f"Size of the frames; repeat for more.  [default: {DEFAULT_SIZE}]",
        kind=SIZE,
        multiple=True,
    )
    rows: tuple[str, ...] = option(
        (),
        "Measure this row, see below; repeat for more.  [default: all]",
        names=("--row",),
        kind=click.Choice([name for name in CANDIDATES if name != GIVEN]),
        metavar="ROW",
        multiple=True,
    )
    backends: tuple[str, ...] = option(
        (),
        "What runs bundles; repeat for more.  [default: all that are there]",
        names=("--backend",),
        kind=click.Choice([name for name, row in BACKENDS.items() if not row.address]),
        multiple=True,
    )
    threads: int = option(
        0,
        "Processor threads of every row; 0 takes one per core.",
        kind=THREADS,
        show_default=True,
    )
    weights: Path | None = option(
        None,
        "Checkpoint of the one --model. Default: the weights that ship; random ones "
        "where none do, as speed does not depend on them.",
        kind=click.Path(path_type=Path),
    )
    random_weights: bool = option(False, "Untrained weights.")
    calibrate_on: str = option(
        "",
        "Rainy footage to calibrate INT8 rows on, as of derain-export.",
        metavar="SOURCE",
    )
    calibration: Path | None = option(
        None,
        "File of derain-calibrate for the INT8 rows of the one --model.",
        kind=click.Path(path_type=Path),
        metavar="FILE",
    )
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
    pairs: Path | None = option(
        None,
        "Measure PSNR and SSIM, too, on files with a clean left and a rainy right "
        "half, or on folders rain and clean.",
        kind=click.Path(path_type=Path),
    )
    most_pairs: int = option(
        20,
        "Take no more pairs than this.",
        kind=COUNT,
        show_default=True,
    )
    duration: float = option(
        20.0,
        "Seconds of measured rounds for each table.",
        kind=SECONDS,
        show_default=True,
    )
    min_rounds: int = option(
        5,
        "At least so many rounds, however long they take.",
        kind=COUNT,
        show_default=True,
    )
    warm_up: float = option(
        10.0,
        "A row that has not settled after so many seconds is measured as it is.",
        kind=SECONDS,
        show_default=True,
    )
    one_process: bool = option(
        False,
        "Run all rows in this process instead of one each: no start-up times, no peak "
        "memory, and a row that crashes ends everything.",
    )
    work: Path | None = option(
        None,
        "Folder to export into; what is there is used again.  [default: a temporary "
        "one]",
        kind=click.Path(path_type=Path),
    )
    together: bool = option(
        False,
        "Bundles of one size take turns in one table, whatever their networks.",
    )
    quick: bool = option(
        False,
        "A first answer, for a small network: three rows, few "
        "rounds, short warm-up, but for what other options ask for. The record says "
        "that it is quick.",
    )

    def conflict(self, networks: int) -> str | None:
        """What of the options does not go together, with so many networks."""
        for first, second in (
            ("weights", "random_weights"),
            ("calibration", "calibrate_on"),
        ):
            one, other = (f"--{x.replace('_', '-')}" for x in (first, second))
            if getattr(self, first) and getattr(self, second):
                return f"{one} and {other} exclude each other"
            if getattr(self, first) and networks != 1:
                return f"{one} needs exactly one --model"
        return None

    def resolved(self) -> BenchmarkOptions:
        """The same with `QUICK` where it was asked for, and all rows where none was."""
        options = self
        if self.quick:
            defaults = {each.name: each.default for each in fields(self)}
            untouched = {
                name: value
                for name, value in QUICK.items()
                if getattr(self, name) == defaults[name] is not MISSING
            }
            options = replace(self, **untouched)  # type: ignore[arg-type]
        return replace(
            options,
            size=options.size or (DEFAULT_SIZE,),
            rows=options.rows or tuple(CANDIDATES),
        )


QUICK: dict[str, object] = {
    "rows": ("eager", "plain-onnx", "bundle-fp32"),
    "duration": 3.0,
    "min_rounds": 3,
    "warm_up": 2.0,
}


class BenchmarkKeywords(TypedDict, total=False):
    """The keywords of `derain.benchmark`: see `BenchmarkOptions`.

    A size may be of any form that `Size.of` takes, and a list of such.
    """

    size: SizeLike | Sequence[SizeLike]
    rows: Sequence[str]
    backends: Sequence[str]
    threads: int
    weights: str | Path | None
    random_weights: bool
    calibrate_on: str
    calibration: str | Path | None
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
    pairs: str | Path | None
    most_pairs: int
    duration: float
    min_rounds: int
    warm_up: float
    one_process: bool
    work: str | Path | None
    together: bool
    quick: bool


def options_of(keywords: BenchmarkKeywords) -> BenchmarkOptions:
    """The options that `keywords` give.

    Raises:
        ValueError: A size is not of a form that `Size.of` takes.
        ConfigError: A value is none that the option takes.
    """
    values: dict[str, object] = {**keywords, **own_network_values(keywords)}
    if "size" in keywords:
        sizes = keywords["size"]
        # (1280, 720) is one size; a list or other tuples hold several.
        one = isinstance(sizes, (Size, str)) or isinstance(sizes[0], int)
        values["size"] = tuple(map(Size.of, [sizes] if one else sizes))  # type: ignore[arg-type]
    for name in ("rows", "backends"):
        if name in values:
            values[name] = tuple(keywords[name])
    for name in ("weights", "calibration", "pairs", "work"):
        if values.get(name) is not None:
            values[name] = Path(values[name])  # type: ignore[arg-type]
    return BenchmarkOptions(**values)  # type: ignore[arg-type]
