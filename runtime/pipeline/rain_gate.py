"""The rain gate: dry scenes go past the network, which saves power.

How much rain there is, is what the network takes away: the mean absolute difference of
the picture before and after, in grey levels, on every 8th pixel of every 8th line. With
hysteresis, so that it does not chatter: it takes `hold_s` without rain to get dry, and
one picture with rain to get wet again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RainGateOptions:
    """When the gate opens and closes.

    The thresholds are for the shipped weights of qsnet, at most 640 pixels wide.
    Measured, least to greatest: dry footage 0.0 to 2.1 (video a1 without its rain 1.7
    to 2.0, test://rain without rain 0.9 to 1.2, 14 photographs 0.0 to 2.1); rain 3.1
    and more (video a1 3.2 to 3.8, ra1 3.1 to 3.6, test://rain 14 to 18). The lightest
    of 8 photographs of real rain has 2.1 and would pass for dry.

    Attributes:
        dry_below: It is dry when less is taken away than this, in grey levels.
        rain_above: It rains when more is taken away than this, in grey levels.
        hold_s: How long it must be dry before frames pass through, in seconds.
        look_every: While it is dry, every so many frames one is looked at.
    """

    dry_below: float = 2.2
    rain_above: float = 3.0
    hold_s: float = 3.0
    look_every: int = 15


class RainGate:
    """Decides frame by frame whether the network is needed.

    Args:
        options: Its thresholds.
        clock: Seconds, monotonic.

    Attributes:
        dry: Whether frames pass through.
        rain: What the last derained frame measured, in grey levels.
    """

    def __init__(
        self,
        options: RainGateOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options or RainGateOptions()
        self._clock = clock
        self._dry_since: float | None = None
        self._until_look = 0
        self.dry = False
        self.rain: float | None = None

    def needs_network(self) -> bool:
        """Whether the next frame is to be derained, be it only to look."""
        if not self.dry:
            return True
        self._until_look -= 1
        return self._until_look < 0

    def saw(self, rainy: NDArray[np.uint8], derained: NDArray[np.uint8]) -> None:
        """Take note of what the network made of a frame, both `(H, W, 3)` uint8."""
        self.rain = rain = removed(rainy, derained)
        now = self._clock()
        if rain > self._options.rain_above:
            self.dry, self._dry_since = False, None
        elif rain >= self._options.dry_below:
            self._dry_since = None if not self.dry else self._dry_since
        else:
            self._dry_since = now if self._dry_since is None else self._dry_since
            self.dry = self.dry or now - self._dry_since >= self._options.hold_s
        self._until_look = self._options.look_every - 1


def removed(rainy: NDArray[np.uint8], derained: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two pictures, in grey levels, on a coarse grid.

    On single pixels and not on a thumbnail of averages: streaks are thin, and averages
    lose them.
    """
    before = rainy[::_STEP, ::_STEP].astype(np.int16)
    return float(np.abs(before - derained[::_STEP, ::_STEP]).mean())
