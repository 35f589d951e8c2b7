"""The mixture that training rain is drawn from, described by a TOML file.

`mixture.toml` beside this file is the default, and says what each key is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from derain.core.config_file import read_toml
from derain.core.errors import ConfigError
from derain.core.synthetic.camera import CAMERA_RANGES, Camera
from derain.core.synthetic.motion import MOTION_RANGES, Motion
from derain.core.synthetic.rain import RANGES, RainSettings
from derain.core.synthetic.weather import WEATHER_RANGES, Weather

DEFAULT = Path(__file__).resolve().with_name("mixture.toml")

_WAYS = ("uniform", "log_uniform", "normal")
_WANTED = (
    "wanted a number, or one of { uniform = [least, most] }, { log_uniform = [least, "
    "most] } and { normal = [mean, standard deviation] }, with chance = 0.5 or none"
)
_TABLES = {"camera": CAMERA_RANGES, "motion": MOTION_RANGES}


@dataclass(frozen=True, slots=True)
class Draw:
    """How one value is drawn.

    Attributes:
        way: ``uniform``, ``log_uniform`` or ``normal``.
        numbers: Least and most, or mean and standard deviation.
        chance: Of being drawn at all; the value is `otherwise` in the other cases.
        limits: To which it is cut.
        otherwise: Nothing of the thing.
    """

    way: str
    numbers: tuple[float, float]
    chance: float
    limits: tuple[float, float]
    otherwise: float

    def __call__(self, random: np.random.Generator) -> float:
        """A value."""
        a, b = self.numbers
        if self.chance < 1 and random.random() >= self.chance:
            return self.otherwise
        if self.way == "normal":
            value = random.normal(a, b)
        elif self.way == "uniform":
            value = random.uniform(a, b)
        else:
            value = math.exp(random.uniform(math.log(a), math.log(b)))
        return float(min(max(value, self.limits[0]), self.limits[1]))


_Draws = Mapping[str, Draw]


@dataclass(frozen=True, slots=True)
class RainMixture:
    """What rain, cameras and motions are drawn from; `parse` makes it.

    Attributes:
        rains: Kinds of rain with their weights, which sum to 1.
        cameras: By setting of `Camera`.
        motions: By setting of `Motion`.
    """

    rains: tuple[tuple[float, _Draws], ...]
    cameras: _Draws
    motions: _Draws

    def weather(self, random: np.random.Generator) -> Weather:
        """A rain, and what comes with it."""
        weights = [weight for weight, _ in self.rains]
        _, draws = self.rains[int(random.choice(len(weights), p=weights))]
        values = _values(draws, random)
        others = {name: values.pop(name) for name in values.keys() - RANGES.keys()}
        return Weather(rain=RainSettings(**values), **others)

    def camera(self, random: np.random.Generator) -> Camera:
        """A camera."""
        return Camera(**_values(self.cameras, random))

    def motion(self, random: np.random.Generator) -> Motion:
        """A motion of the camera."""
        return Motion(**_values(self.motions, random))

    @classmethod
    def parse(cls, content: Mapping[str, Any], place: str) -> RainMixture:
        """The mixture that a TOML file's `content` describes.

        Args:
            content: As in `mixture.toml`; a setting that is left out is as its class
                has it.
            place: Where it stands, for messages.

        Raises:
            ConfigError: It has unknown keys, or values that make no sense.
        """
        if unknown := content.keys() - {"rain", *_TABLES}:
            raise ConfigError(
                f"{place} has an unknown key {min(unknown)!r}; wanted [[rain]] tables, "
                "[camera] and [motion]"
            )
        tables = content.get("rain")
        if not (isinstance(tables, list) and tables):
            raise ConfigError(f"{place} has no [[rain]] tables")
        rains = []
        for number, table in enumerate(tables, 1):
            where = f"{place}, rain {number}"
            values = dict(_table(where, table))
            weight = values.pop("weight", 1)
            if not (_is_number(weight) and 0 < weight < math.inf):
                raise ConfigError(
                    f"{where}: weight is {weight!r}, wanted a number above 0"
                )
            rains.append((float(weight), _draws(where, values, WEATHER_RANGES)))
        total = sum(weight for weight, _ in rains)
        others = [
            _draws(f"{place}, {name}", _table(name, content.get(name, {})), ranges)
            for name, ranges in _TABLES.items()
        ]
        return cls(tuple((w / total, draws) for w, draws in rains), *others)


def read_mixture(path: Path = DEFAULT) -> Mapping[str, Any]:
    """The content of a mixture's file, which `RainMixture.parse` takes.

    Raises:
        ConfigError: It cannot be read, or describes no mixture.
    """
    content = read_toml(path)
    RainMixture.parse(content, str(path))
    return content


def _table(place: str, table: Any) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{place} is {table!r}, wanted a table")
    return table


def _draws(
    place: str,
    table: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
) -> _Draws:
    draws = {}
    for name, value in table.items():
        if name not in ranges:
            raise ConfigError(
                f"{place} has an unknown key {name!r}; wanted "
                f"{', '.join(sorted(ranges))}"
            )
        draws[name] = _draw(f"{place}: {name}", value, ranges[name])
    return draws


def _draw(place: str, value: Any, limits: tuple[float, float]) -> Draw:
    # Nothing of a thing is 0, or the least there can be: of layers, of steps.
    otherwise = max(0.0, limits[0])
    given: dict[str, Any] = (
        value if isinstance(value, dict) else {"uniform": [value, value]}
    )
    chance = given.get("chance", 1)
    ways = [name for name in given if name != "chance"]
    numbers: Any = given[ways[0]] if len(ways) == 1 else None
    if not (
        _is_number(chance)
        and 0 <= chance <= 1
        and len(ways) == 1
        and ways[0] in _WAYS
        and isinstance(numbers, list)
        and len(numbers) == 2
        and all(map(_is_number, numbers))
    ):
        raise ConfigError(f"{place} is {value!r}, {_WANTED}")
    a, b = map(float, numbers)
    least, most = limits
    if ways[0] == "normal":
        sensible = least <= a <= most and b >= 0
    else:
        sensible = least <= a <= b <= most and (ways[0] == "uniform" or a > 0)
    if not sensible:
        above = " and above 0" * (ways[0] == "log_uniform")
        raise ConfigError(
            f"{place} is {value!r}, wanted what lies within {least:g} and {most:g}"
            f"{above}, the lesser number first"
        )
    return Draw(ways[0], (a, b), float(chance), limits, otherwise)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _values(draws: _Draws, random: np.random.Generator) -> dict[str, Any]:
    """A value for each setting; whole ones where their limits are whole numbers."""
    values: dict[str, Any] = {}
    for name, draw in draws.items():
        value = draw(random)
        values[name] = round(value) if isinstance(draw.limits[0], int) else value
    return values
