"""Places for a frame and its result that this process and a Triton server both see."""

from __future__ import annotations

import contextlib
import secrets
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException


class SharedFrames:
    """A frame and its result in shared memory, of one size at a time.

    Args:
        client: Of tritonclient, for gRPC.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._regions: list[SharedMemory] = []
        self._shape: tuple[int, ...] = ()

    def make_room(self, frame: NDArray[np.uint8]) -> None:
        """Make ready for frames like `frame`.

        Raises:
            InferenceServerException: The server does not see the same memory.
            OSError: There is no room.
        """
        if frame.shape == self._shape:
            return
        self.close()
        name = f"derain-{secrets.token_hex(8)}"
        for kind in ("frame", "derained"):
            region = SharedMemory(f"{name}-{kind}", create=True, size=frame.nbytes)
            self._regions.append(region)
            self._client.register_system_shared_memory(
                region.name, f"/{region.name}", frame.nbytes
            )
        self._shape = frame.shape

    def put(self, frame: NDArray[np.uint8], given: Any, derained: Any) -> None:
        """Write `frame` in place, and say so in the request.

        Args:
            frame: `(1, H, W, 3)` uint8.
            given: The request's input.
            derained: Its output.
        """
        for region, tensor in zip(self._regions, (given, derained), strict=True):
            tensor.set_shared_memory(region.name, frame.nbytes)
        np.copyto(self._view(0), frame)

    def take(self) -> NDArray[np.uint8]:
        """A copy of the result: the region goes when this is closed."""
        return self._view(1).copy()

    def close(self) -> None:
        """Free it, here and at the server. Calling it twice is harmless."""
        self._shape = ()
        while self._regions:
            region = self._regions.pop()
            with contextlib.suppress(InferenceServerException):
                self._client.unregister_system_shared_memory(region.name)
            region.close()
            region.unlink()

    def _view(self, index: int) -> NDArray[np.uint8]:
        return np.ndarray(self._shape, np.uint8, self._regions[index].buf)


def error_line(error: BaseException) -> str:
    """What an error says, on one line."""
    # tritonclient's own have the status in front in their text.
    message = getattr(error, "message", None)
    return " ".join(str(message() if message is not None else error).split())
