"""The PyTorch rows: eager in its variants, and ``torch.compile``."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import nn

from derain.benchmarks.latency.candidate import Frame, FrameMemory
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.benchmarks.latency.fed_back import FedBack
from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.models.allocator import keep_memory
from derain.models.loading import LoadedNetwork, open_network
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import PictureNetwork, to_frame, to_picture


def open_eager(spec: CandidateSpec) -> TorchCandidate:
    """Eager in FP32, tensors as they come."""
    return _open(spec)


def open_channels_last(spec: CandidateSpec) -> TorchCandidate:
    """Eager in FP32, channels-last."""
    return _open(spec, channels_last=True)


def open_tuned(spec: CandidateSpec) -> TorchCandidate:
    """Eager in FP32 with all we know to make it faster: nobody runs a straw man."""
    keep_memory()
    torch.backends.cudnn.benchmark = True
    return _open(spec, channels_last=True)


def open_autocast(spec: CandidateSpec) -> TorchCandidate:
    """Eager on a GPU, FP16 where autocast chooses it."""
    _require_gpu()
    return _open(spec, channels_last=True, autocast=True)


def open_fp16(spec: CandidateSpec) -> TorchCandidate:
    """Eager on a GPU, everything in FP16."""
    _require_gpu()
    return _open(spec, channels_last=True, dtype=torch.float16)


def open_compiled(spec: CandidateSpec) -> TorchCandidate:
    """``torch.compile`` in its default mode; it compiles at the first frame."""
    return _open(spec, compiled=True)


def _require_gpu() -> None:
    if not torch.cuda.is_available():
        raise EngineError(f"torch {torch.__version__} finds no CUDA device")


def _open(
    spec: CandidateSpec,
    *,
    channels_last: bool = False,
    autocast: bool = False,
    compiled: bool = False,
    dtype: torch.dtype = torch.float32,
) -> TorchCandidate:
    torch.set_num_threads(spec.threads)
    own = spec.own
    loaded = open_network(
        spec.model,
        weights=spec.weights,
        random_weights=spec.random_weights,
        facts=own.facts if ":" in spec.model else None,
        **own.keywords(),
    )
    return TorchCandidate(
        loaded,
        size=spec.size,
        threads=spec.threads,
        channels_last=channels_last,
        autocast=autocast,
        compiled=compiled,
        dtype=dtype,
    )


class TorchCandidate:
    """A network under PyTorch, on the GPU where PyTorch finds one.

    States stay on its device, as they come out of the network.
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        *,
        size: Size,
        threads: int,
        channels_last: bool,
        autocast: bool,
        compiled: bool,
        dtype: torch.dtype,
    ) -> None:
        self._facts: NetworkFacts = loaded.facts
        self._dtype = dtype
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        network = loaded.video or loaded.network
        network.to(self._device, dtype)
        self._shapes: list[tuple[int, ...]] = []
        window = 1
        self.memory = FrameMemory()
        if loaded.video is not None:
            video, padded = loaded.video, loaded.facts.padded(size)
            self._shapes, window = video.shapes(padded), video.window
            numbers = sum(map(math.prod, self._shapes))
            numbers += (window - 1) * 3 * padded.pixels
            self.memory = FrameMemory(numbers * dtype.itemsize, video.look_ahead)
        self._fed_back = FedBack(window, self._start)
        for tensor in network.parameters():
            if tensor.ndim == 4:  # those of 3-D convolutions have another layout
                tensor.data = tensor.data.contiguous(memory_format=self._layout)
        if compiled:
            # Overloaded with a decorator's form, whose type mypy would pick.
            network = cast(nn.Module, torch.compile(network))
        if loaded.video is None:
            network = PictureNetwork(network, loaded.facts)
        self._forward = network
        self._autocast = autocast
        self.split_ms: dict[str, float] = {}
        self.description = f"torch {torch.__version__}, " + (
            torch.cuda.get_device_name()
            if self._on_gpu
            else f"processor, {threads} thread{'s' if threads > 1 else ''}"
        )

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def infer(self, frame: Frame) -> Frame:
        """See `Candidate.infer`."""
        height, width, _ = frame.shape
        self.split_ms = {}
        with torch.inference_mode(), self._casting():
            x = torch.from_numpy(frame)
            if self._on_gpu:
                with self._stage("h2d"):
                    x = x.to(self._device)
            with self._stage("pre"):
                x = to_picture(x, self._facts, dtype=self._dtype)
                x = x.contiguous(memory_format=self._layout)
            with self._stage("compute"):
                y = self._forward(*self._fed_back.inputs(x))
                if not isinstance(y, torch.Tensor):
                    y, *states = y
                    self._fed_back.keep(states)
            with self._stage("post"):
                y = to_frame(y, Size(width, height), self._facts)
            if self._on_gpu:
                with self._stage("d2h"):
                    y = y.cpu()
        return cast(Frame, y.numpy())

    def reset(self) -> None:
        """See `Candidate.reset`."""
        self._fed_back.reset()

    def _start(self) -> list[torch.Tensor]:
        return [
            torch.zeros(shape, dtype=self._dtype, device=self._device)
            for shape in self._shapes
        ]

    def device_bytes(self) -> int | None:
        """See `Candidate.device_bytes`: what PyTorch's allocator held."""
        return torch.cuda.max_memory_reserved() if self._on_gpu else None

    def close(self) -> None:
        """See `Candidate.close`."""
        self.__dict__.pop("_forward", None)
        self._fed_back.reset()

    def _casting(self) -> contextlib.AbstractContextManager[object]:
        if self._autocast:
            return torch.autocast("cuda", torch.float16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self._on_gpu:
            torch.cuda.synchronize()
        self.split_ms[name] = (time.perf_counter() - started) * 1000


def parameters(loaded: LoadedNetwork) -> int:
    """How many numbers training would change."""
    return sum(int(np.prod(p.shape)) for p in loaded.network.parameters())
