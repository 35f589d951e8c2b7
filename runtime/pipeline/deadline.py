"""Whether a live frame can still be on screen in time."""

from __future__ import annotations

_SHARE = 0.1  # of the newest value in the running mean: it follows within ten frames
_EASE = 0.95  # an expectation that lets no frame through must be tried again


class Deadline:
    """Bounds the age of frames: from capture to the end of the sink's ``write``.

    Args:
        bound_s: The greatest age, in seconds.
    """

    def __init__(self, bound_s: float) -> None:
        self.bound_s = bound_s
        self._network_s = 0.0
        self._sink_s = 0.0

    def allows(self, age_s: float) -> bool:
        """Whether a frame of that age can be derained and written in time."""
        if age_s + self._network_s + self._sink_s <= self.bound_s:
            return True
        # Or one slow call, as an engine's first, would keep all frames out for ever.
        self._network_s *= _EASE
        self._sink_s *= _EASE
        return False

    def derained(self, seconds: float) -> None:
        """Take note of how long the network took for a frame."""
        self._network_s = _follow(self._network_s, seconds)

    def written(self, seconds: float) -> None:
        """Take note of how long a frame took from the network to the end of a write."""
        self._sink_s = _follow(self._sink_s, seconds)


def _follow(mean: float, value: float) -> float:
    return value if mean == 0.0 else mean + _SHARE * (value - mean)
