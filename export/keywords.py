"""The options of an export as keywords: of ``derain.export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from derain.calibration.options import NAMES, CalibrationOptions, Method
from derain.core.errors import ConfigError
from derain.core.manifest import Precision, Target
from derain.core.options import described, from_keywords
from derain.core.sizes import SizeLike, SizeRangeLike
from derain.export.options import ExportOptions
from derain.models.forward_inputs import Feed

if TYPE_CHECKING:
    from derain.calibration.frame_store import FrameSource

# The options of a calibration, by what they are called in an export.
CALIBRATION = dict(
    zip(NAMES, (each.name for each in described(CalibrationOptions)), strict=True)
)


class ExportKeywords(TypedDict, total=False):
    """`ExportOptions` and `CalibrationOptions` as keywords; paths may be text."""

    weights: str | Path | None
    random_weights: bool
    size: SizeLike | None
    dynamic: SizeRangeLike | None
    precision: Precision
    calibrate_on: FrameSource | None
    calibration: str | Path | None
    target: Target
    batch: int | None
    fused_units: bool
    output: str | Path | None
    force: bool
    opset: int
    tolerance: float | None
    frames: FrameSource | None
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
    keep_graphs: str | Path | None
    calibration_frames: int
    dry: bool
    pairs: str | Path | None
    method: Method
    max_drop_db: float
    min_psnr_db: float
    max_flicker: float
    report: str | Path | None
    no_cache: bool


def export_options(keywords: Mapping[str, Any]) -> ExportOptions:
    """The options that `ExportKeywords` describe.

    Raises:
        ConfigError: A value is not one that the option takes, or has no effect.
        TypeError: There is no such option.
    """
    mine = {k: v for k, v in keywords.items() if k not in CALIBRATION}
    mine |= _pairs(keywords)
    others = {CALIBRATION[k]: v for k, v in keywords.items() if k in CALIBRATION}
    options = from_keywords(ExportOptions, mine)
    if others and (options.precision != "int8" or options.calibration is not None):
        names = ", ".join(k for k in keywords if k in CALIBRATION)
        raise ConfigError(f"for INT8 that is calibrated here alone: {names}")
    return replace(options, int8=from_keywords(CalibrationOptions, others))


def _pairs(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Options of names and values, as the command line has them.

    Raises:
        ConfigError: They are not by name, or a value is none that the option takes.
    """
    pairs: dict[str, Any] = {}
    for name in ("args", "inputs"):
        if name in keywords:
            given = keywords[name]
            if not isinstance(given, Mapping):
                raise ConfigError(f"{name}: got {given!r}, wanted a dict by name")
            pairs[name] = tuple(given.items())
    if "inputs" in pairs:
        try:
            pairs["inputs"] = tuple((k, Feed.parse(str(v))) for k, v in pairs["inputs"])
        except ValueError as error:
            raise ConfigError(f"inputs: {error}") from error
    if isinstance(values := keywords.get("value_range"), (tuple, list)):
        pairs["value_range"] = ",".join(map(str, values))
    return pairs
