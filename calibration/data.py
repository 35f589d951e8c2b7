"""What a calibration reads: frames, pairs; before anything slow, so faults show."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from derain.calibration.contact_sheet import frames_sheet
from derain.calibration.files import check_free
from derain.calibration.frame_store import FrameSource, FrameStore
from derain.calibration.options import CalibrationOptions
from derain.calibration.pairs import read_held_out
from derain.calibration.report import PLOT_FILE, TABLE_FILE, require_matplotlib
from derain.calibration.scoring import HeldOut
from derain.core.errors import CalibrationError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.pictures import write_picture
from derain.core.sizes import Size

_log = logging.getLogger(__name__)

SHEET_FILE = "frames.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationData:
    """What to calibrate on, and how.

    Attributes:
        options: How.
        store: Frames, of the graph's size.
        pairs: Pictures with their truth, fitted to the frames.
    """

    options: CalibrationOptions
    store: FrameStore
    pairs: tuple[HeldOut, ...] = ()

    @property
    def pairs_digest(self) -> str:
        """SHA-256 of every pixel of the pairs and of what counts."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            begins = pair.start is not None
            text = f"{pair.rainy.shape} {pair.height} {pair.width} {begins} "
            digest.update(text.encode())
            digest.update(pair.rainy.tobytes())
            if pair.clean is not None:
                digest.update(pair.clean.tobytes())
        return digest.hexdigest()


def read_by(source: FrameSource, options: CalibrationOptions) -> list[Path]:
    """The local files and folders that a calibration reads, so as not to write them."""
    paths = []
    if isinstance(source, (str, Path)):
        path = Path(source)
        paths += [path.parent if "*" in path.name else path]
    if options.pairs is not None:
        paths += [options.pairs, options.pairs / "rain", options.pairs / "clean"]
    return paths


@contextlib.contextmanager
def read_data(
    source: FrameSource,
    options: CalibrationOptions,
    size: Size,
    memory: GraphMemory = NO_MEMORY,
    *,
    force: bool,
) -> Iterator[CalibrationData]:
    """Read everything that a calibration needs; the frames go when the block ends.

    Args:
        source: Frames; see `FrameStore.collect`.
        options: How to calibrate.
        size: Of the frames that the graph will run on.
        memory: Of the graph; with states, frames come in clips.
        force: Replace an existing report.

    Raises:
        CalibrationError: Too few frames; or the report cannot be written.
        MediaError: The frames or pairs cannot be read.
        ShapeError: An array is no frame.
    """
    report = options.report
    if report is not None:
        require_matplotlib()
        for name in (SHEET_FILE, TABLE_FILE, PLOT_FILE):
            check_free(report / name, read_by(source, options), force=force)
        _make_folder(report)
    pairs: Sequence[HeldOut] = ()
    if options.pairs is not None:
        pairs = read_held_out(options.pairs, size, memory)
    with FrameStore() as store:
        count, dry = options.frames, options.dry
        store.collect(source, size, dry=dry, count=count, memory=memory)
        _log.info(_summary(store, options.frames))
        if report is not None:
            write_picture(report / SHEET_FILE, frames_sheet(store.chosen))
        yield CalibrationData(options=options, store=store, pairs=tuple(pairs))


def _summary(store: FrameStore, wanted: int) -> str:
    text = (
        f"{store.description}: {len(store.chosen)} frames for ranges, "
        f"{len(store.held_out)} held out, of {store.seen}"
    )
    if store.clips:
        text += f", in {store.clips} clips"
    if len(store.chosen) < wanted:
        text += f" (wanted {wanted}; {store.repeated} repeat others)"
    if store.resized:
        text += "; cropped or mirrored to fit"
    return text


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CalibrationError(
            f"{folder} cannot be written: {error.strerror}; choose another --report"
        ) from error
    if not os.access(folder, os.W_OK):
        raise CalibrationError(f"{folder} cannot be written; choose another --report")
