"""What PyTorch makes of the frames of a stream, one after another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from derain.core.errors import NetworkError
from derain.core.frame_contract import PadMode
from derain.core.frame_tensors import Frame
from derain.core.sizes import Size
from derain.core.states import state_names
from derain.models.torch_reference import device_of, to_frame, to_picture
from derain.models.video_network import VideoNetwork


class VideoStream:
    """Derains frames in order and remembers what the network does.

    Under the same contract as an exported graph: states start as zeros, the frames of a
    window as the first one; a frame of another size starts afresh.

    Args:
        video: In eval mode, float32, on any device.
        mode: How padding is filled; None follows from the frame's size.

    Attributes:
        largest: The largest absolute value that a state has had.
    """

    def __init__(self, video: VideoNetwork, mode: PadMode | None = None) -> None:
        self.largest = 0.0
        self._video = video
        self._mode = mode
        self._size: Size | None = None
        self._memory: list[Tensor] = []
        self._count = 0

    def derain(self, frame: Frame) -> Frame:
        """The picture of the frame that is `look_ahead` before `frame`.

        Args:
            frame: `(H, W, 3)` uint8 BGR.

        Returns:
            The same shape and dtype.

        Raises:
            NetworkError: The network returns no finite picture of its input's size, or
                states that cannot go in again.
        """
        video, facts = self._video, self._video.facts
        size = Size(frame.shape[1], frame.shape[0])
        pixels = torch.from_numpy(np.ascontiguousarray(frame))
        x = to_picture(pixels.to(device_of(video)), facts, mode=self._mode)
        x = x.contiguous(memory_format=torch.channels_last)
        if size != self._size:
            self._size, self._count = size, 0
            self._memory = self._start(x, facts.padded(size))
        where = f"on frame {self._count} of {size}"
        self._count += 1
        with torch.no_grad():
            if video.window > 1:
                y, *_ = video(*self._memory, x)
                self._memory = [*self._memory[1:], x]
            else:
                y, *new = video(x, *self._memory)
                self._check(new, where)
                self._memory = new
        if y.shape != x.shape:
            raise NetworkError(
                f"the network returns {tuple(y.shape)}, wanted a picture of its "
                f"input's size, {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(y).all()):
            raise NetworkError(
                f"{video.kind} returns NaN or infinity {where}; are these the weights "
                "it was trained to?"
            )
        derained: Frame = to_frame(y, size, facts).cpu().numpy()
        return derained

    def _start(self, x: Tensor, padded: Size) -> list[Tensor]:
        if self._video.window > 1:
            return [x] * (self._video.window - 1)
        return [x.new_zeros(shape) for shape in self._video.shapes(padded)]

    def _check(self, new: list[Tensor], where: str) -> None:
        wanted = [tuple(state.shape) for state in self._memory]
        got = [tuple(state.shape) for state in new]
        for name, before, after in zip(state_names(len(new)), wanted, got, strict=True):
            if before != after:
                swapped = sorted(wanted) == sorted(got)
                hint = "; are the states returned in another order?" if swapped else ""
                raise NetworkError(
                    f"{self._video.kind}: {name} goes in as {before} and comes out as "
                    f"{after} {where}{hint}"
                )
        for name, state in zip(state_names(len(new)), new, strict=True):
            largest = float(state.detach().abs().max())
            if not largest < float("inf"):
                raise NetworkError(
                    f"{self._video.kind} returns NaN or infinity in {name} {where}; "
                    "are these the weights it was trained to?"
                )
            self.largest = max(self.largest, largest)
