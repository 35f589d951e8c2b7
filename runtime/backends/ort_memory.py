"""Tensors that stay in place, bound to a session of ONNX Runtime once for each size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from derain.core.batch_file import of_row
from derain.core.manifest import Manifest
from derain.runtime.backends.states import HEALTH, SwappedStates

FATAL = 4  # severity of ONNX Runtime's messages


class HostTensor:
    """A tensor in host memory, which NumPy and ONNX Runtime share.

    Attributes:
        value: What is bound.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._array: NDArray[Any] = np.empty(shape, dtype)
        self.value: Any = ort.OrtValue.ortvalue_from_numpy(self._array)

    def write(self, array: NDArray[Any]) -> None:
        """Copy `array` into it."""
        np.copyto(self._array, array)

    def read(self) -> NDArray[Any]:
        """Its values, as they are; not copied."""
        return self._array


class CudaTensor:
    """A tensor in the memory of a GPU; as `HostTensor`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.value: Any = ort.OrtValue.ortvalue_from_shape_and_type(
            shape, dtype.type, "cuda", 0
        )

    def write(self, array: NDArray[Any]) -> None:
        """Copy `array` into it, which must be C-contiguous."""
        self.value.update_inplace(array)

    def read(self) -> NDArray[Any]:
        """A copy in host memory."""
        array: NDArray[Any] = self.value.numpy()
        return array


class BoundMemory(SwappedStates["HostTensor | CudaTensor"]):
    """See `Memory`: states and the place of the result, on the session's device.

    There is a binding for each of the two sets of states that a frame may read. It
    stays as it is for as long as the frame's size does: what a CUDA graph needs, which
    works on the addresses that it was captured with. Each binding has a graph of its
    own. ONNX Runtime keeps those as long as the session lives, so memories are for
    streams of frames and not for single frames.

    Args:
        session: Of ONNX Runtime.
        manifest: Of its bundle.
        tensor: Where the tensors are. On a GPU the frame has a place there, too; in
            host memory it is read where it lies.
        graphs: Numbers for CUDA graphs, none of which is in use; None for no graphs.
    """

    def __init__(
        self,
        session: Any,
        manifest: Manifest,
        tensor: type[HostTensor | CudaTensor],
        graphs: Iterator[int] | None = None,
    ) -> None:
        super().__init__(manifest, tensor, lambda each, array: each.write(array))
        self.session = session
        self._tensor = tensor
        self._graphs = graphs
        self._frame_name = session.get_inputs()[0].name
        self._output_names = [output.name for output in session.get_outputs()]
        self._bound: list[tuple[Any, Any]] = []  # for each turn: binding, run options
        self._frame: HostTensor | CudaTensor | None = None
        self._derained: HostTensor | CudaTensor | None = None
        self._health: HostTensor | CudaTensor | None = None

    def load(self, frame: NDArray[np.uint8]) -> tuple[Any, Any]:
        """Put `frame` in place; what to run: a binding, and options of the run."""
        self._make_ready(frame)
        bound = self._bound[self.turn]
        if self._frame is None:
            bound[0].bind_cpu_input(self._frame_name, frame)
        return bound

    def bind_row(self, binding: Any, row: int, frame: NDArray[np.uint8]) -> None:
        """Put `frame` in place, and bind all of it to a row of another graph."""
        self._make_ready(frame)
        if self._frame is None:
            binding.bind_cpu_input(of_row(self._frame_name, row), frame)
        self._bind_tensors(binding, self.turn, lambda name: of_row(name, row))

    def results(self) -> tuple[NDArray[np.uint8], float]:
        """The derained frame, and what the graph says of its states."""
        assert self._derained is not None
        health = 0.0 if self._health is None else float(self._health.read())
        return self._derained.read(), health

    def _bind(self, shape: tuple[int, ...]) -> None:
        uint8 = np.dtype(np.uint8)
        self._derained = self._tensor(shape, uint8)
        if self._tensor is CudaTensor:
            self._frame = self._tensor(shape, uint8)
        if HEALTH in self._output_names:
            self._health = self._tensor((), np.dtype(np.float32))
        bound = []
        for turn in range(2 if self._manifest.states else 1):
            binding = self.session.io_binding()
            self._bind_tensors(binding, turn, lambda name: name)
            bound.append((binding, self._options()))
        self._bound = bound

    def _bind_tensors(
        self, binding: Any, turn: int, called: Callable[[str], str]
    ) -> None:
        inputs, outputs = self.bindings(turn)
        assert self._derained is not None
        if self._frame is not None:
            inputs[self._frame_name] = self._frame
        outputs[self._output_names[0]] = self._derained
        if self._health is not None:
            outputs[HEALTH] = self._health
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(called(name), tensor.value)
        for name, tensor in outputs.items():
            binding.bind_ortvalue_output(called(name), tensor.value)

    def _make_ready(self, frame: NDArray[np.uint8]) -> None:
        if self.begin(frame) or not self._bound:
            self._bind(frame.shape)
        if self._frame is not None:
            self._frame.write(frame)

    def _options(self) -> Any:
        options = ort.RunOptions()
        options.log_severity_level = FATAL  # a run that fails raises
        if self._graphs is not None:
            options.add_run_config_entry("gpu_graph_id", str(next(self._graphs)))
        return options

    def _free(self) -> None:
        self._bound = []
        self._frame = self._derained = self._health = None
        super()._free()
