"""The options of a calibration: of derain-calibrate, derain-export --int8, the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

import click
from click.core import ParameterSource

from derain.core.commands import DECIBELS, Number, Whole
from derain.core.options import described, option, options_from

Method = Literal["auto", "minmax", "percentile", "entropy", "mse"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """How to calibrate; every default stands here.

    Attributes:
        frames: How many frames ranges are taken from, at least 1.
        dry: The source has no rain; some is rendered.
        pairs: Folder of pairs to measure on besides; see `open_pairs`.
        method: How ranges are found; ``auto`` measures all.
        max_drop_db: Most that may be lost against the truth, where that is known, dB.
        min_psnr_db: Least PSNR against FP32, in dB.
        max_flicker: Most that a still scene in rain may flicker, 1 being FP32.
        report: Folder for the chosen frames, the table and the plot.
        no_cache: Measure again what was measured before.
        equalise: Bring channels to one reach where that helps, as measured.
        correct_bias: Take off the biases what rounding the weights shifts on average:
            -0.1 to 0.2 dB nearer to FP32, qsnet by three methods.
    """

    frames: int = option(
        64,
        "INT8: how many frames ranges are taken from.",
        kind=Whole(1, 10_000),
        show_default=True,
    )
    dry: bool = option(
        False, "The footage has no rain: render some. The truth is then known."
    )
    pairs: Path | None = option(
        None,
        "INT8: also measure on these pairs, against the truth: files with the clean "
        "half left and the rainy one right, or folders rain and clean.",
        kind=click.Path(path_type=Path),
    )
    method: Method = option(
        "auto",
        "INT8: how ranges are found; auto measures all of them.",
        kind=click.Choice(METHODS),
        show_default=True,
    )
    max_drop_db: float = option(
        0.15,
        "INT8: most that is lost against the truth, where that is known.",
        kind=DECIBELS,
        show_default=True,
    )
    min_psnr_db: float = option(
        42.0,
        "INT8: least PSNR against FP32.",
        kind=DECIBELS,
        show_default=True,
    )
    max_flicker: float = option(
        1.05,
        "INT8: most that a still scene in rain may flicker, 1 being FP32.",
        kind=Number(1, 1000),
        show_default=True,
    )
    report: Path | None = option(
        None,
        "INT8: write the chosen frames, the table and the plot into this folder.",
        kind=click.Path(path_type=Path),
    )
    no_cache: bool = option(False, "INT8: measure again what was measured before.")
    equalise: bool = True
    correct_bias: bool = True


class CalibrationKeywords(TypedDict, total=False):
    """`CalibrationOptions` as keywords of a function; paths may be text."""

    frames: int
    dry: bool
    pairs: str | Path | None
    method: Method
    max_drop_db: float
    min_psnr_db: float
    max_flicker: float
    report: str | Path | None
    no_cache: bool
    equalise: bool
    correct_bias: bool


# derain-export has --frames already: what the result is verified on.
_IN_EXPORT = {"frames": "calibration_frames"}

int8_options = options_from(CalibrationOptions, "settings", renamed=_IN_EXPORT)


NAMES = tuple(
    _IN_EXPORT.get(each.name, each.name) for each in described(CalibrationOptions)
)


def given(context: click.Context, names: Iterable[str]) -> list[str]:
    """Those of the options `names` that stand on the command line, as ``--dry`` does.

    Args:
        context: Of the command.
        names: As its function calls them.
    """
    wanted = set(names)
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in wanted
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
