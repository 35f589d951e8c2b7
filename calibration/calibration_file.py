"""The calibration file: everything that turns one float graph into its INT8 form.

`derain.calibration.apply` does that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from derain.calibration.files import write_json
from derain.calibration.ranges import LEVELS
from derain.core.errors import CalibrationError
from derain.core.reading import read_json

SCHEMA = 3  # 2: factors; 3: tensors by `tensor_keys`
_FARTHEST = LEVELS * float(np.finfo(np.float16).max)  # with a scale that FP16 holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Ranges, the layers that run in INT8, and where both come from.

    Frame sizes do not matter: what was measured at one size is good for any other.
    Tensors are called as `tensor_keys` calls them.

    Attributes:
        graph: Fingerprint of the convolutions it is for; see
            `derain.calibration.apply.fingerprint`.
        method: How ranges were found.
        ranges: How far INT8 reaches, by tensor.
        factors: What channels are divided by before anything else, by tensor; see
            `derain.calibration.equalization`. Ranges and means are of what comes out.
        means: Mean of each channel, by tensor; empty if biases stay as they are.
        int8: Names of the layers in INT8.
        residuals: Tensors that are added as they are quantised; see `residual_adds`.
        macs: Multiplications of each layer, at the size that was measured.
        curve: Graphs that accuracy control measured, the last one being this.
        kept: Why layers were not tried in INT8, by name.
        costs: PSNR against FP32 of a layer alone in INT8, in dB, where measured.
        frames: Where the frames came from, how many and their hash.
        tools: Versions of what made it.
        created: UTC date and time, ISO 8601.
    """

    graph: str
    method: str
    ranges: dict[str, float]
    means: dict[str, list[float]]
    int8: tuple[str, ...]
    macs: dict[str, int]
    residuals: tuple[str, ...] = ()
    factors: dict[str, list[float]] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    frames: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the convolutions that stay in floating point."""
        small = set(self.int8)
        return tuple(name for name in self.macs if name not in small)

    @property
    def share(self) -> float:
        """Part of the convolutions' multiplications in INT8, in [0, 1]."""
        return sum(self.macs[name] for name in self.int8) / sum(self.macs.values())

    def to_json(self) -> dict[str, Any]:
        """The calibration as the JSON object that is written to disk."""
        return {"schema": SCHEMA, **asdict(self)}

    def write(self, path: Path) -> None:
        """Write the calibration to `path`, whole or not at all.

        Raises:
            CalibrationError: It cannot be written.
        """
        write_json(path, self.to_json())

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Calibration:
        """The calibration that `to_json` made; unknown fields are left out."""
        known = {k: v for k, v in fields.items() if k in cls.__dataclass_fields__}
        known["int8"] = tuple(known["int8"])
        known["residuals"] = tuple(known.get("residuals", ()))
        return cls(**known)

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """The calibration in `path`.

        Raises:
            CalibrationError: The file is missing, damaged or of another version.
        """
        try:
            fields = read_json(path)
            schema = fields.pop("schema")
            if schema != SCHEMA:
                raise ValueError(f"schema {schema}, this version reads {SCHEMA}")
            made = cls.from_json(fields)
            _check(made)
        except OSError as error:
            raise CalibrationError(
                f"{path} cannot be read: {error.strerror}; make one with "
                "derain-calibrate"
            ) from error
        except _DAMAGED as error:
            raise CalibrationError(
                f"{path} is not a calibration file ({error}); make one with "
                "derain-calibrate"
            ) from error
        return made


# What reading a file of another form ends in.
_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _check(made: Calibration) -> None:
    """Raise one of `_DAMAGED` where `made` makes no sense for any graph."""
    if not set(made.int8) <= made.macs.keys() or not made.int8:
        raise ValueError("layers in INT8 are not those of the graph")
    if not all(isinstance(n, int) and n > 0 for n in made.macs.values()):
        raise ValueError("multiplications are not numbers above 0")
    for tensor, reach in made.ranges.items():
        if not 0 <= reach <= _FARTHEST:
            raise ValueError(f"the range of {tensor} is {reach}")
    for tensor, factors in made.factors.items():
        if not (_finite(factors) and min(factors) > 0):
            raise ValueError(f"a factor of {tensor} is not a number above 0")
    for tensor, means in made.means.items():
        if not _finite(means):
            raise ValueError(f"a mean of {tensor} is not a number")
    for layer, cost in made.costs.items():
        if not _finite([cost]):
            raise ValueError(f"the cost of {layer} is {cost}")
    for step in made.curve:
        drop = step["drop_db"]
        if not _finite([step["psnr_db"], 0.0 if drop is None else drop]):
            raise ValueError("the curve has a step that is not a number")


def _finite(values: list[float]) -> bool:
    """Whether FP32 holds all `values`, a list of numbers."""
    most = float(np.finfo(np.float32).max)
    return isinstance(values, list) and all(abs(x) <= most for x in values)
