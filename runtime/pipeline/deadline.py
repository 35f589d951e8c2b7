"""Whether a live frame can still be on screen in time."""

from __future__ import annotations

from collections.abc import Iterable

from derain.core.bundle import Bundle
from derain.core.errors import ConfigError
from derain.runtime.video.frames import SourceInfo

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


def check_room(
    info: SourceInfo, bundles: Iterable[Bundle], max_latency_ms: float | None
) -> None:
    """See that live frames can be in time although they wait for the next ones.

    Raises:
        ConfigError: They cannot.
    """
    if not info.live or max_latency_ms is None:
        return
    for bundle in bundles:
        frames = bundle.manifest.look_ahead
        waits_ms = float(frames / info.fps * 1000)
        if frames and waits_ms >= max_latency_ms:
            raise ConfigError(
                f"--max-latency-ms {max_latency_ms:g} leaves no room for the "
                f"look-ahead of {bundle.folder}: {frames} of {float(info.fps):g} "
                f"frames/s take {waits_ms:.0f} ms, and the network comes on top"
            )


def _follow(mean: float, value: float) -> float:
    return value if mean == 0.0 else mean + _SHARE * (value - mean)
