"""Command-line options of INT8, shared by derain-calibrate and derain-export."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from derain.calibration.ranges import Method

METHODS = ("auto", "minmax", "percentile", "entropy", "mse")
FRAMES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `int8_options` adds to a command, and its function gets as ``settings``.

    Attributes:
        dry: The source has no rain; some is rendered.
        pairs: Folder of pairs to judge on besides.
        method: How ranges are found.
        max_drop_db: Most that is lost against the truth, in dB.
        min_psnr_db: Least PSNR against FP32, in dB.
        max_flicker: Most that a still scene may flicker, 1 being FP32.
        report: Folder for what was found.
        no_cache: Measure again.
    """

    dry: bool
    pairs: Path | None
    method: Method
    max_drop_db: float
    min_psnr_db: float
    max_flicker: float
    report: Path | None
    no_cache: bool


NAMES = tuple(field.name for field in fields(Settings))

_OPTIONS = (
    click.option(
        "--dry",
        is_flag=True,
        help="The footage has no rain: render some. The truth is then known.",
    ),
    click.option(
        "--pairs",
        type=click.Path(path_type=Path),
        help="INT8: also judge on these pairs, against the truth: files with the clean "
        "half left and the rainy one right, or folders rain and clean.",
    ),
    click.option(
        "--method",
        type=click.Choice(METHODS),
        default="auto",
        show_default=True,
        help="INT8: how ranges are found; auto measures all of them.",
    ),
    click.option(
        "--max-drop-db",
        type=click.FloatRange(min=0),
        default=0.15,
        show_default=True,
        help="INT8: most that is lost against the truth, where that is known.",
    ),
    click.option(
        "--min-psnr-db",
        type=click.FloatRange(min=0),
        default=42.0,
        show_default=True,
        help="INT8: least PSNR against FP32.",
    ),
    click.option(
        "--max-flicker",
        type=click.FloatRange(min=1),
        default=1.05,
        show_default=True,
        help="INT8: most that a still scene in rain may flicker, 1 being FP32.",
    ),
    click.option(
        "--report",
        type=click.Path(path_type=Path),
        help="INT8: write the chosen frames, the table and the plot into this folder.",
    ),
    click.option(
        "--no-cache", is_flag=True, help="INT8: measure again what was measured before."
    ),
)


def int8_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command's `function` the options of INT8, as one argument ``settings``."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        settings = Settings(**{name: options.pop(name) for name in NAMES})
        return function(*arguments, settings=settings, **options)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


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
