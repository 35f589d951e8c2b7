"""Pictures as a sink: one, or a folder of them."""

from __future__ import annotations

from pathlib import Path

from derain.core.atomic_files import remove_abandoned
from derain.core.errors import MediaError
from derain.core.pictures import SUFFIXES, write_picture
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks.output_checks import check_new_file, check_parent


class PictureSink:
    """The one picture at `uri`, in the format of its suffix."""

    keeps = True
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        if options.limit != 1 and info.frames != 1:
            count = "several" if info.frames is None else info.frames
            raise MediaError(
                f"{uri} holds one picture, {info.description} has {count} frames; "
                "name a folder or a video, or use --limit 1"
            )
        self._path = Path(uri)
        check_new_file(self._path, info, options)
        remove_abandoned(self._path.parent, SUFFIXES)
        self.name = uri

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        write_picture(self._path, frame.image)

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""


def _folders(info: SourceInfo) -> set[Path]:
    return {path.parent for path in info.files}


class FolderSink:
    """A folder of pictures, made if it is not there.

    Pictures keep their names (and with them their format); frames of a video become
    ``000000.png``, ``000001.png`` and so on. Every file appears complete or not at all.
    """

    keeps = True
    notes: tuple[str, ...] = ()

    def __init__(self, uri: str, info: SourceInfo, options: SinkOptions) -> None:
        self._folder = Path(uri)
        self._written: set[str] = set()
        self.name = uri
        if self._folder.exists() and not self._folder.is_dir():
            raise MediaError(f"{uri} is a file; wanted a folder for the pictures")
        if not self._folder.exists():
            check_parent(self._folder)
        elif any(self._folder.samefile(folder) for folder in _folders(info)):
            raise MediaError(
                f"{uri} is the folder of the source; name another for the result"
            )
        elif not options.force and any(self._folder.iterdir()):
            raise MediaError(
                f"{uri} is not empty; name another folder, or use --force to replace "
                "the pictures in it that have the same names"
            )

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        name = frame.name or f"{frame.index:06d}.png"
        if name in self._written:
            raise MediaError(
                f"two pictures of the source are called {name}; derain their folders "
                "one by one"
            )
        if not self._written:
            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as error:
                raise MediaError(
                    f"{self._folder} cannot be made: {error.strerror}"
                ) from error
            remove_abandoned(self._folder, SUFFIXES)
        write_picture(self._folder / name, frame.image)
        self._written.add(name)

    def finish(self) -> None:
        """See `Sink.finish`."""

    def close(self) -> None:
        """See `Sink.close`."""
