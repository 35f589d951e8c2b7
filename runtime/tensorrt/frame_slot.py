"""Room for one frame on its way to the device, through the network and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from derain.core.sizes import Size
from derain.runtime.backends.protocol import StageTimes
from derain.runtime.cuda.device import Device, DeviceMemory, Event, Stream, own
from derain.runtime.tensorrt.engine_states import DERAINED, FRAME, HEALTH
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine

# TensorRT wants each of its tensors to start at a multiple of so many bytes.
_ALIGNMENT = 256


class Stage:
    """When one part of the way began and ended."""

    def __init__(self, stack: ExitStack, device: Device) -> None:
        self._device = device
        self._began: Event = own(stack, device.event())
        self.ended: Event = own(stack, device.event())

    def begin(self, stream: Stream, *, in_graph: bool) -> None:
        """What `stream` is given from now on belongs to it."""
        self._began.record(stream, in_graph=in_graph)

    def end(self, stream: Stream, *, in_graph: bool) -> None:
        """What `stream` is given from now on does not belong to it."""
        self.ended.record(stream, in_graph=in_graph)

    def took_ms(self) -> float:
        """How long it took, in ms; it has ended."""
        return self._device.elapsed_ms(self._began, self.ended)


class Slot:
    """Buffers and events for one frame.

    Args:
        device: Where.
        room: The largest frame.
        mapped: The device reads and writes the host's memory itself: no copies.
        health: The network also says whether its states are finite. That comes to the
            host with the frame, in one copy, in front of it.

    Attributes:
        mapped: As given.
        derained: The frame that came back, `(1, H, W, 3)` uint8 BGR.
    """

    def __init__(
        self, device: Device, room: Size, *, mapped: bool, health: bool = False
    ) -> None:
        self.mapped = mapped
        self._device = device
        self._size: Size | None = None
        self._head = _ALIGNMENT if health else 0
        size_bytes = _bytes(room)
        with ExitStack() as stack:
            self._host_in = own(stack, device.host_memory(size_bytes))
            self._host_out = own(stack, device.host_memory(self._head + size_bytes))
            if not mapped:
                self._device_in = own(stack, device.device_memory(size_bytes))
                self._device_out = own(
                    stack, device.device_memory(self._head + size_bytes)
                )
            self._uploading = Stage(stack, device)
            self._computing = Stage(stack, device)
            self._downloading = Stage(stack, device)
            self._resources = stack.pop_all()
        self._rainy: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.derained: NDArray[np.uint8] = np.empty(0, np.uint8)

    @property
    def done(self) -> Event:
        """Comes when the derained frame is there."""
        return (self._computing if self.mapped else self._downloading).ended

    def load(self, frame: NDArray[np.uint8]) -> None:
        """Take a frame, `(1, H, W, 3)` uint8 BGR; the last one has left."""
        _, height, width, _ = frame.shape
        size = Size(width, height)
        if size != self._size:
            count, returned = _bytes(size), self._host_out.array
            self._rainy = self._host_in.array[:count].reshape(frame.shape)
            self.derained = returned[self._head :][:count].reshape(frame.shape)
            self._size = size
        np.copyto(self._rainy, frame)

    def upload(self, stream: Stream, *, in_graph: bool = False) -> None:
        """Copy the frame to the device."""
        if self.mapped:
            return
        self._uploading.begin(stream, in_graph=in_graph)
        self._device.upload(self._device_in, self._host_in, self._rainy.nbytes, stream)
        self._uploading.end(stream, in_graph=in_graph)

    def wait_for_upload(self, stream: Stream) -> None:
        """Let `stream` wait until the frame is on the device."""
        if not self.mapped:
            stream.wait(self._uploading.ended)

    def begin_compute(self, stream: Stream, *, in_graph: bool = False) -> None:
        """What `stream` is given from now on is the network."""
        self._computing.begin(stream, in_graph=in_graph)

    def copy_to(self, target: DeviceMemory, stream: Stream) -> None:
        """Copy the frame, which is on the device, to `target`, which is there, too."""
        count = self._rainy.nbytes
        if self.mapped:
            self._device.upload(target, self._host_in, count, stream)
        else:
            self._device.copy(target, self._device_in, count, stream)

    def enqueue(
        self, engine: TensorRtEngine, states: Mapping[str, int], stream: Stream
    ) -> None:
        """Run the network on the frame.

        Args:
            engine: The network.
            states: Addresses of what it remembers, by the names of its tensors.
            stream: Where.
        """
        source = self._host_in if self.mapped else self._device_in
        target = (self._host_out if self.mapped else self._device_out).address
        addresses = {FRAME: source.address, DERAINED: target + self._head, **states}
        if self._head:
            addresses[HEALTH] = target
        engine.enqueue(addresses, stream)

    def end_compute(self, stream: Stream, *, in_graph: bool = False) -> None:
        """What `stream` is given from now on is not the network."""
        self._computing.end(stream, in_graph=in_graph)

    def wait_for_compute(self, stream: Stream) -> None:
        """Let `stream` wait until the network has run."""
        if not self.mapped:
            stream.wait(self._computing.ended)

    def download(self, stream: Stream, *, in_graph: bool = False) -> None:
        """Copy the result to the host."""
        if self.mapped:
            return
        self._downloading.begin(stream, in_graph=in_graph)
        count = self._head + self.derained.nbytes
        self._device.download(self._host_out, self._device_out, count, stream)
        self._downloading.end(stream, in_graph=in_graph)

    @property
    def healthy(self) -> bool:
        """Whether the states that came with the frame are finite; it is done."""
        return not self._head or self._host_out.array[:4].view(np.float32)[0] == 0

    def times(self) -> StageTimes:
        """How long the frame took; it is done."""
        return StageTimes(
            upload_ms=0.0 if self.mapped else self._uploading.took_ms(),
            compute_ms=self._computing.took_ms(),
            download_ms=0.0 if self.mapped else self._downloading.took_ms(),
        )

    def close(self) -> None:
        """Free it; nothing that uses it is running."""
        self._rainy = self.derained = np.empty(0, np.uint8)
        self._resources.close()


def _bytes(size: Size) -> int:
    return size.pixels * 3
