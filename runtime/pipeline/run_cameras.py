"""Several cameras from Python: what ``derain-run --config`` does, and their frames."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.core.bounded_queue import BoundedQueue
from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, StreamError
from derain.core.options import from_keywords
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline.cameras import CameraConfig, cameras_in
from derain.runtime.pipeline.fleet import Fleet
from derain.runtime.pipeline.fleet_report import FleetReport
from derain.runtime.pipeline.options import RunOptions
from derain.runtime.video.frames import Frame

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from derain.runtime.pipeline.options import RunKeywords

# A source, or what a [[camera]] table of the configuration file says, but its name.
Cameras = Mapping[str, "Path | str | Mapping[str, Any]"]


def run_cameras(
    bundle: Bundle | Derainer | Path | str,
    cameras: Cameras,
    on_frame: Callable[[str, Frame], object] | None = None,
    *,
    changed: Callable[[], Cameras | None] = lambda: None,
    stopped: Callable[[], object] = lambda: False,
    **options: Unpack[RunKeywords],
) -> FleetReport:
    """Derain several cameras with one engine, to the end of all of them.

    The scheduler is that of ``derain-run --config``: see ``docs/cameras.md``.

    Args:
        bundle: As of `derain.run`.
        cameras: By name: a source; or a dict of ``source``, ``sink`` (one or a list)
            and whatever is the camera's own, such as ``priority`` or ``late``.
        on_frame: Called with the camera's name and each derained `Frame`, whose
            ``image`` is `(H, W, 3)` uint8 BGR, and may be kept and drawn on. It is
            called in a thread of each camera, so of several at once; while it is busy,
            a live camera's older frames are dropped, and a file waits. What it raises
            counts as a sink that has failed: it gets no more of that camera.
        changed: Asked several times a second for the cameras that are wanted from now
            on, in the place of all those before; None, or the same again: as before.
        stopped: Asked as often whether to stop here.
        options: Those of ``derain-run``, see `RunOptions`; for each camera that does
            not say otherwise.

    Returns:
        What was done, by camera; ``print`` shows it.

    Raises:
        ConfigError: A camera has neither a sink nor `on_frame`, or something makes no
            sense, or two write to one place.
        StreamError: Some cameras failed, and the others have come to their end; its
            `report` says what was done.
        DerainError: The bundle does not run, or a file cannot be opened; nothing was
            written.

    Example:
        >>> import derain
        >>> cameras = {"yard": "rainy.mp4", "gate": {"source": "rainy.mp4", "limit": 5}}
        >>> def show(camera, frame):
        ...     assert frame.image.shape == (720, 1280, 3)
        >>> report = derain.run_cameras("qsnet-fp32-1280x720", cameras, show)
        >>> report.cameras["gate"].frames, report.frames
        (5, 25)
    """
    chosen = from_keywords(RunOptions, options)
    need_sinks = on_frame is None and chosen.preview is None

    def wanted(those: Cameras) -> list[CameraConfig]:
        if not those:
            raise ConfigError("there are no cameras, wanted a source for each name")
        tables = [_table(name, each) for name, each in those.items()]
        common = chosen.of_a_camera()
        return cameras_in("cameras", tables, common, need_sinks=need_sinks)

    before = copy.deepcopy(dict(cameras))  # the caller may change it and return it

    def now() -> list[CameraConfig] | None:
        nonlocal before
        those = changed()
        if those is None or dict(those) == before:
            return None
        before = copy.deepcopy(dict(those))
        return wanted(those)

    report = Fleet(
        bundle,
        wanted(cameras),
        chosen,
        stopped=stopped,
        changed=now,
        beside=lambda name: () if on_frame is None else (_Caller(name, on_frame),),
    ).run()
    if report.failure is not None:
        error = StreamError(report.failure)
        error.report = report
        raise error
    return report


def watch(
    bundle: Bundle | Path | str, cameras: Cameras, **options: Unpack[RunKeywords]
) -> Generator[tuple[str, Frame], None, None]:
    """Derain several cameras with one engine, and take their frames as they come.

    It begins with the first frame that is asked for, and ends with the last camera; a
    loop that is left earlier closes all of them. A live camera whose frames are not
    taken in time drops the older ones; a file waits.

    Args:
        bundle: The folder that ``derain-export`` made, or an opened `Bundle`; it is
            loaded in a thread that does nothing else.
        cameras: As of `run_cameras`; what has sinks is written there, too.
        options: As of `run_cameras`.

    Yields:
        A camera's name and its `Frame`; its ``image`` is the caller's own. Those of one
        camera are in order.

    Raises:
        DerainError: As `run_cameras`, in the loop.

    Example:
        >>> import derain
        >>> cameras = {"yard": "rainy.mp4", "gate": "rainy.mp4"}
        >>> for camera, frame in derain.watch("qsnet-fp32-1280x720", cameras):
        ...     if frame.index == 19:
        ...         print(frame.image.shape, frame.image.dtype)
        (720, 1280, 3) uint8
        (720, 1280, 3) uint8
    """
    queue: BoundedQueue[tuple[str, Frame]] = BoundedQueue(1, waits=True)
    left = threading.Event()

    def serve() -> None:
        try:
            run_cameras(
                bundle,
                cameras,
                lambda name, frame: queue.put((name, frame)),
                stopped=left.is_set,
                **options,
            )
        except BaseException as error:
            queue.end(error)
        else:
            queue.end()

    server = threading.Thread(target=serve, name="cameras", daemon=True)
    server.start()
    try:
        while (item := queue.get()) is not None:
            yield item
    finally:
        left.set()
        queue.cancel()
        server.join()


def _table(name: str, camera: Path | str | Mapping[str, Any]) -> dict[str, Any]:
    """A [[camera]] table of the configuration file."""
    own = camera if isinstance(camera, Mapping) else {"source": camera}
    if "source" not in own:
        raise ConfigError(f"camera {name!r} has no source, wanted a path or an address")
    values = {key.replace("_", "-"): own[key] for key in own if own[key] is not None}
    return {"name": name, **{key: _plain(value) for key, value in values.items()}}


def _plain(value: Any) -> Any:
    """`value` as TOML has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, (Path, Fraction)) else value


class _Caller:
    """A sink that calls a function."""

    name = "on_frame"
    keeps = False
    notes: tuple[str, ...] = ()

    def __init__(self, camera: str, function: Callable[[str, Frame], object]) -> None:
        self._camera = camera
        self._function = function

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        # Other sinks, and the stand-in for a lost signal, have the same picture.
        self._function(self._camera, replace(frame, image=frame.image.copy()))

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
