"""When the frames of a stream were sent, from its own clock and the time they arrive.

A frame may have waited in a socket, or behind a slow decoder: it is older then than
its arrival says.
"""

from __future__ import annotations

import math

# How fast the clocks of a camera and of this machine may part: crystals keep 1e-4.
_DRIFT = 2e-4
# A frame that seems to have waited longer comes from a clock that was set anew.
_LONGEST_WAIT_S = 10.0


class SenderClock:
    """Tells for each frame when it could have arrived at the earliest.

    Both clocks run alike, so of all frames the one that arrived soonest after its time
    stamp shows how far they are apart; whatever arrives later than that has waited.
    """

    def __init__(self) -> None:
        self._offset = math.inf  # ours minus the sender's, of the quickest frame
        self._asked = 0.0

    def sent(self, stamp: float, arrived: float) -> float:
        """The moment by our clock, in seconds; not after `arrived`.

        Args:
            stamp: What the stream says, in seconds from any origin.
            arrived: When the frame came, by ``time.monotonic()``.
        """
        offset = arrived - stamp
        drifted = self._offset + max(0.0, arrived - self._asked) * _DRIFT
        self._asked = arrived
        self._offset = min(drifted, offset)
        if offset - self._offset > _LONGEST_WAIT_S:
            self._offset = offset
        return stamp + self._offset
