"""Metrics and lines of statistics, as the options of a run ask for them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from derain.runtime.pipeline.options import Address, RunOptions
from derain.runtime.telemetry.metrics_server import MetricsServer
from derain.runtime.telemetry.reporter import Reporter
from derain.runtime.telemetry.roster import Watched
from derain.runtime.telemetry.systemd import Notifier


def start_telemetry(
    stack: ExitStack, watched: Watched, options: RunOptions, notifier: Notifier
) -> None:
    """Say what `watched` says, until `stack` is closed.

    Raises:
        ConfigError: Nothing can listen at the address for metrics.
    """
    if options.metrics is not None:
        host, port = cast(Address, options.metrics)
        server = MetricsServer(watched, host, port, lambda: notifier.beat)
        stack.enter_context(server)
    if options.stats is not None:
        stack.enter_context(Reporter(watched, options.stats, options.stats_every))
