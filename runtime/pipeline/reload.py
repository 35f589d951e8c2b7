"""The cameras in a configuration file, read again when somebody asks for it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from derain.core.config_file import read_toml
from derain.core.errors import ConfigError
from derain.runtime.pipeline.cameras import TABLE, CameraConfig, cameras_in
from derain.runtime.pipeline.options import CameraOptions

_log = logging.getLogger(__name__)


class Reload:
    """Reads the ``[[camera]]`` tables of a file again after a signal.

    A file that cannot be followed changes nothing, and is told of in one line. What
    stands outside of the tables is for the start of a run.

    Args:
        path: The file, as it was read at the start.
        common: What holds for each camera that does not say otherwise.
        asked: Set by the signal.
        need_sinks: Whether each camera must have a sink.
    """

    def __init__(
        self,
        path: Path,
        common: CameraOptions,
        asked: threading.Event,
        *,
        need_sinks: bool,
    ) -> None:
        self._path = path
        self._common = common
        self._asked = asked
        self._need_sinks = need_sinks
        self._outside = self._read()[1]

    def asked(self) -> list[CameraConfig] | None:
        """The cameras that are wanted from now on; None: as before."""
        if not self._asked.is_set():
            return None
        self._asked.clear()
        try:
            tables, outside = self._read()
            cameras = cameras_in(
                str(self._path), tables, self._common, need_sinks=self._need_sinks
            )
        except ConfigError as error:
            _log.warning(f"{error}; the cameras go on as before")
            return None
        changed = {
            key
            for key in self._outside.keys() | outside.keys()
            if self._outside.get(key) != outside.get(key)
        }
        if changed:
            _log.warning(
                f"{self._path}: {', '.join(sorted(changed))} outside of [[{TABLE}]] "
                "takes effect at the next start"
            )
        return cameras

    def _read(self) -> tuple[object, dict[str, object]]:
        content = read_toml(self._path)
        return content.pop(TABLE, []), content
