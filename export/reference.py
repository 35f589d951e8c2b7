"""What PyTorch makes of the frames that prove an export, and whether that is a measure.

It is none where a network gives NaN, or another picture each time, which
`derain.export.trial` finds before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from derain.core.errors import NetworkError
from derain.core.frame_contract import PadMode
from derain.core.frame_tensors import Frame
from derain.core.sizes import Size
from derain.export import verify
from derain.export.noise_floor import other_kernels
from derain.models.loading import LoadedNetwork
from derain.models.torch_reference import (
    derain_picture,
    device_of,
    to_frame,
    to_picture,
)
from derain.models.users_code import users_code
from derain.models.video_stream import VideoStream

# DCSFN takes a minute a frame; one large frame proves as much as two.
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Reference:
    """What an exported graph is measured by.

    Attributes:
        loaded: The network.
        mode: How its padding is filled.
        frames: Rainy frames, each `(H, W, 3)` uint8 BGR.
        wanted: What PyTorch makes of them.
        largest_state: The largest absolute value that a state has had.
    """

    loaded: LoadedNetwork
    mode: PadMode
    frames: list[Frame]
    wanted: list[Frame]
    largest_state: float = 0.0

    def scatter(self) -> verify.GraphComparison:
        """How far PyTorch is from itself with other convolution kernels."""
        with other_kernels():
            stream = _stream(self.loaded, self.mode)
            other = _derain(self.loaded, self.frames, self.mode, stream)
        return verify.compare(other, self.wanted[: len(other)])


def derain_reference(
    loaded: LoadedNetwork, frames: Sequence[Frame], mode: PadMode
) -> Reference:
    """Derain `frames` with PyTorch, as many as it derains in `_SECONDS`.

    The first two are derained whatever that takes when they differ in size: the range
    of sizes has to be proven; and so are a network with a memory's first clips.

    Raises:
        NetworkError: The network fails, or returns no picture of its input's size, or
            NaN.
    """
    stream = _stream(loaded, mode)
    wanted = _derain(loaded, frames, mode, stream)
    largest = stream.largest if stream is not None else 0.0
    return Reference(loaded, mode, list(frames[: len(wanted)]), wanted, largest)


def _stream(loaded: LoadedNetwork, mode: PadMode) -> VideoStream | None:
    return None if loaded.video is None else VideoStream(loaded.video, mode)


def _one(
    loaded: LoadedNetwork, frame: Frame, mode: PadMode, stream: VideoStream | None
) -> Frame:
    if stream is None:
        return derain_checked(loaded, frame, mode)
    with _running(loaded, frame):
        return stream.derain(frame)


def _derain(
    loaded: LoadedNetwork,
    frames: Sequence[Frame],
    mode: PadMode,
    stream: VideoStream | None,
) -> list[Frame]:
    """What becomes of `frames`, as many as are derained in `_SECONDS`."""
    needed = 1 if frames[0].shape == frames[-1].shape else 2
    if stream is not None:
        needed *= sum(frame.shape == frames[0].shape for frame in frames)
    start = time.perf_counter()
    derained: list[Frame] = []
    for frame in frames:
        if len(derained) >= needed and time.perf_counter() - start > _SECONDS:
            break
        derained.append(_one(loaded, frame, mode, stream))
    return derained


def derain_checked(loaded: LoadedNetwork, frame: Frame, mode: PadMode) -> Frame:
    """Derain one frame as `derain_frame` does, with a network that may be anything.

    Raises:
        NetworkError: The network fails, or does not return a finite picture.
    """
    network, facts = loaded.network, loaded.facts
    height, width, _ = frame.shape
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(device_of(network))
    kind, size = type(network).__name__, Size(width, height)
    with _running(loaded, frame):
        result = derain_picture(network, facts, to_picture(pixels, facts, mode=mode))
    if not bool(torch.isfinite(result).all()):
        raise NetworkError(
            f"{kind} returns NaN or infinity on a frame of {size}; are these the "
            "weights it was trained to?"
        )
    derained: Frame = to_frame(result, size, facts).cpu().numpy()
    return derained


def _running(
    loaded: LoadedNetwork, frame: Frame
) -> contextlib.AbstractContextManager[None]:
    kind, size = type(loaded.network).__name__, Size(frame.shape[1], frame.shape[0])
    return users_code(f"running {kind} on a frame of {size}")
