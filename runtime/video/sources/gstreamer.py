"""GStreamer pipelines as a source, in a process of their own.

OpenCV's wheels and FFmpeg have no GStreamer, and on a Jetson the cameras and the
hardware decoders are behind it. ``gst-launch-1.0`` writes Y4M through a pipe: planar
4:2:0, half the bytes of BGR, with size and rate in front.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from fractions import Fraction
from typing import IO

from derain.core import numbers
from derain.core.errors import MediaError
from derain.core.sizes import Size
from derain.runtime.video.sources.ffmpeg_stream import StreamSource, StreamSpec
from derain.runtime.video.uris import parsed, public, refuse_rate, split_fields

LAUNCHER = "gst-launch-1.0"
# Y4M does not say which matrix; BT.709 is what FFmpeg is told below.
_TO_Y4M = (
    "! videoconvert ! video/x-raw,format=I420,colorimetry=bt709 ! y4menc ! fdsink fd=1"
)
_OPEN_TIMEOUT_S = 20.0  # Argus takes seconds to start a camera
_ASKED_S = 1.0  # for a pipeline to stop by itself
_LAST_WORDS_S = 1.0  # for one whose pipe has ended to end too, and to say why
_CSI_FORM = "csi://0"
_CSI_FIELDS = {"size": "1280x720", "fps": "30"}


def open_gst(uri: str, fps: Fraction | None = None) -> StreamSource:
    """The video that ``gst:PIPELINE`` makes, in ``gst-launch-1.0``'s words.

    The pipeline ends in raw video, in the processor's memory; what takes it from there
    is added. It ends when the pipeline does.

    Raises:
        MediaError: `fps` is given, GStreamer is missing, or the pipeline fails.
    """
    refuse_rate(uri, fps)
    return _launch(uri.removeprefix("gst:"), "the GStreamer pipeline", endless=False)


def open_csi(uri: str, fps: Fraction | None = None) -> StreamSource:
    """The camera on a Jetson's CSI port: ``csi://0?size=1280x720&fps=30``.

    Raises:
        MediaError: The URI has another form, or see `open_gst`.
    """
    place, fields = split_fields(uri, _CSI_FORM, _CSI_FIELDS)

    def parse() -> tuple[int, Size, Fraction]:
        number = numbers.whole(place.removeprefix("csi://") or "0")
        return number, Size.parse(fields["size"]), fps or numbers.rate(fields["fps"])

    number, size, rate = parsed(uri, _CSI_FORM, _CSI_FIELDS, parse)
    return _launch(
        f"nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM),"
        f"width={size.width},height={size.height},"
        f"framerate={rate.numerator}/{rate.denominator} "
        "! nvvidconv ! video/x-raw,format=I420",
        place,
        endless=True,
    )


def _launch(pipeline: str, name: str, *, endless: bool) -> StreamSource:
    launcher = shutil.which(LAUNCHER)
    if launcher is None:
        raise MediaError(
            f"{name} needs {LAUNCHER}; run: sudo apt install gstreamer1.0-tools "
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        )
    try:
        words = shlex.split(f"{pipeline} {_TO_Y4M}")
    except ValueError as error:
        raise MediaError(
            f"{name} cannot be read: {error}: {public(pipeline)}"
        ) from error
    child = _Child([launcher, "-q", *words])
    late = threading.Timer(_OPEN_TIMEOUT_S, child.give_up)
    late.daemon = True
    late.start()
    try:
        source = StreamSource(
            StreamSpec(
                name=name,
                url=f"pipe:{child.output}",
                format="yuv4mpegpipe",
                options={"colorspace": "bt709"},
                live=True,
                stamped=False,
                endless=endless,
            ),
            release=child.close,
            interrupt=child.kill,
            reason=child.reason,
        )
    finally:
        late.cancel()
    return source


class _Child:
    """A process that writes to a pipe; it and what it starts end together."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle
            env={**os.environ, "LC_ALL": "C"},
        )
        assert self._process.stdout is not None  # both are pipes
        assert self._process.stderr is not None
        self.output = self._process.stdout.fileno()
        self._late = self._closed = False
        self._lines: deque[str] = deque(maxlen=50)
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stderr,), daemon=True
        )
        self._listener.start()

    def reason(self) -> str:
        """Why it failed, in its own words; empty if it did not."""
        if self._late:
            return f"it did not start within {_OPEN_TIMEOUT_S:g} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS_S)
        if not self._process.returncode:
            return ""
        self._listener.join(_LAST_WORDS_S)
        errors = [line for line in self._lines if "ERROR" in line or "WARN" in line]
        line = (errors or list(self._lines) or ["no reason given"])[0]
        # "ERROR: from element /GstPipeline:pipeline0/...: what happened"
        line = line.removeprefix("WARNING: ").removeprefix("ERROR: ")
        return re.sub(r"//[^/@\s]*@", "//", line)  # a password in an address

    def give_up(self) -> None:
        """End it because it does not start."""
        self._late = True
        self.kill()

    def kill(self) -> None:
        """End it now, and whatever it has started.

        It is asked first: a Jetson's camera service does not survive every client that
        is killed.
        """
        if self._closed:  # its number may be another process's by now
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ASKED_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and free its pipes."""
        self.kill()
        self._process.wait()
        self._closed = True
        self._listener.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._lines.append(text)
