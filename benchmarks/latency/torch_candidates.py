"""The PyTorch rows: eager in its variants, and ``torch.compile``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from derain.benchmarks.latency.candidate import Frame
from derain.benchmarks.latency.candidates import CandidateSpec
from derain.core.errors import EngineError
from derain.models.allocator import keep_memory
from derain.models.loading import LoadedNetwork, open_network
from derain.models.registry import NetworkFacts
from derain.training.validation import pad

Forward = Callable[[Tensor], object]


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
    loaded = open_network(
        spec.model, weights=spec.weights, random_weights=spec.random_weights
    )
    return TorchCandidate(
        loaded,
        threads=spec.threads,
        channels_last=channels_last,
        autocast=autocast,
        compiled=compiled,
        dtype=dtype,
    )


class TorchCandidate:
    """A network under PyTorch, on the GPU where PyTorch finds one."""

    def __init__(
        self,
        loaded: LoadedNetwork,
        *,
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
        network: nn.Module = loaded.network.to(self._device, dtype)
        # Its overload is not in the type stubs.
        network = cast(Any, network).to(memory_format=self._layout)
        self._forward: Forward = network
        if compiled:
            # Overloaded with a decorator's form, whose type mypy would pick.
            self._forward = cast(Forward, torch.compile(network))
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
                x = self._to_network(x)
            with self._stage("compute"):
                y = self._picture(x)
            with self._stage("post"):
                y = self._to_frame(y[:, :, :height, :width])
            if self._on_gpu:
                with self._stage("d2h"):
                    y = y.cpu()
        return cast(Frame, y.numpy())

    def device_bytes(self) -> int | None:
        """See `Candidate.device_bytes`: what PyTorch's allocator held."""
        return torch.cuda.max_memory_reserved() if self._on_gpu else None

    def close(self) -> None:
        """See `Candidate.close`."""
        self.__dict__.pop("_forward", None)

    def _to_network(self, x: Tensor) -> Tensor:
        """`(H, W, 3)` uint8 -> `(1, 3, H, W)` in [0, 1], padded."""
        x = x.permute(2, 0, 1)[None].to(self._dtype) / 255
        if self._facts.colour == "rgb":
            x = x.flip(1)
        return pad(x, self._facts).contiguous(memory_format=self._layout)

    def _picture(self, x: Tensor) -> Tensor:
        out = self._forward(x)
        if not isinstance(out, Tensor):
            out = cast("list[Tensor]", out)[self._facts.output_index]
        return x - out if self._facts.returns_rain else out

    def _to_frame(self, y: Tensor) -> Tensor:
        y = (y.float().clamp(0, 1) * 255).round()
        if self._facts.colour == "rgb":
            y = y.flip(1)
        return y[0].permute(1, 2, 0).to(torch.uint8).contiguous()

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
