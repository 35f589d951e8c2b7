"""Readiness and watchdog of systemd, as ``sd_notify(3)`` describes them."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Tells systemd how a service is; does nothing where it was not started by it.

    Args:
        environment: Has ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` where systemd listens.
        clock: Seconds, monotonic.

    Attributes:
        beat: When it was told last that the service is alive, by `clock`.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        period_us = environment.get("WATCHDOG_USEC", "")
        # Three times in each period, as one may come late.
        self._period_s = (
            int(period_us) / 3e6 if re.fullmatch("[0-9]{1,18}", period_us) else None
        )
        self._clock = clock
        self.beat = clock()
        self._next = 0.0
        self._stopping = False

    def ready(self) -> None:
        """The service is up."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service is finishing its files; may be called again."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1")

    def heartbeat(self) -> None:
        """The service is alive; may be called as often as one likes."""
        self.beat = now = self._clock()
        if self._period_s is not None and now >= self._next:
            self._next = now + self._period_s
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract address.
        address = self._address.replace("@", "\0", 1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(state.encode(), address)
            except OSError:  # its manager is gone or busy; the work goes on without
                return
