"""Ray: started on this machine, or joined; as quiet as it can be."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from derain.batch.options import BatchOptions
from derain.batch.storage import ANY_ERROR, line
from derain.core.errors import ConfigError, EngineError
from derain.core.scratch import ScratchFolder

_log = logging.getLogger(__name__)
_ANSWER_S = 5.0
# No tensor goes through Ray's object store; this is the least that Ray takes.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024


@contextlib.contextmanager
def joined(address: str | None, *, verbose: bool) -> Iterator[None]:
    """Be part of a Ray cluster for as long as the block.

    Args:
        address: Of one that exists; None starts one on this machine, which ends with
            the block and leaves nothing behind.
        verbose: Let Ray say what it says.

    Raises:
        ConfigError: Nobody answers at `address`.
        EngineError: Ray does not start.
    """
    # Otherwise Ray asks, or tells its makers who uses it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.CRITICAL,
    }
    with contextlib.ExitStack() as stack:
        if address is None:
            # Ray would kill workers where other programs take the memory.
            os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
            # Ray's sockets lie in it, whose names may not be long. What a killed batch
            # has left there goes, too.
            folder = ScratchFolder("derain-ray-", Path("/tmp"))
            settings |= {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_temp_dir": stack.enter_context(folder),
            }
        else:
            _check(address)
            settings["address"] = address
        stack.callback(ray.shutdown)
        try:
            with _silence(verbose):
                ray.init(**settings)
        except ConnectionError as error:
            raise ConfigError(_nobody(str(address))) from error
        except ANY_ERROR as error:
            raise EngineError(
                f"Ray does not start: {line(error).rstrip('.')}; "
                "try again when the machine has less to do, --verbose says more"
            ) from error
        yield


def places(options: BatchOptions, clips: int) -> int:
    """How many actors there will be.

    Raises:
        ConfigError: There is no room for one, or for as many as were asked for.
    """
    have = ray.cluster_resources()
    needs = {"CPU": options.cpus_per_actor, "GPU": options.gpus_per_actor}
    room = min(
        (int(have.get(kind, 0) / need + 1e-6) for kind, need in needs.items() if need),
        default=int(have.get("CPU", 1)),
    )
    wanted = options.actors or 1
    if room < wanted:
        what = " and ".join(f"{need:g} {kind}" for kind, need in needs.items() if need)
        there = ", ".join(f"{have.get(kind, 0):g} {kind}" for kind in needs)
        raise ConfigError(
            f"there is no room for {wanted} actor{'s' if wanted > 1 else ''} of {what} "
            f"each: Ray has {there}; ask for less with --actors, --cpus-per-actor or "
            "--gpus-per-actor"
        )
    return min(options.actors or room, clips)


def _check(address: str) -> None:
    """See that somebody listens: Ray would try for a minute, and say more.

    Raises:
        ConfigError: Nobody does.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(
            f"--address {address} is not of the form HOST:PORT, such as 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise ConfigError(f"{_nobody(address)} ({line(error)})") from error


def _nobody(address: str) -> str:
    return f"no Ray answers at {address}; on its head node run: ray start --head"


@contextlib.contextmanager
def _silence(verbose: bool) -> Iterator[None]:
    """Ray's warnings about this machine are not for who wants clips."""
    if verbose:
        yield
        return
    logger = logging.getLogger("ray")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
