"""ONNX Runtime on a GPU: its sessions and values, played by the processor's.

What is bound is run by the real session; a CUDA graph reads and writes what was bound
when it was captured, whatever is bound later.
"""

import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

CUDA = "CUDAExecutionProvider"
RealSession = onnxruntime.InferenceSession


class Value:
    """An OrtValue on the device."""

    made = 0

    def __init__(self, array, device, number):
        assert (device, number) == ("cuda", 0)
        self.array = array
        type(self).made += 1

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, dtype, device, number):
        # Filled, so that what is read before it is written shows.
        return cls(np.full(shape, 77, dtype), device, number)

    def update_inplace(self, array):
        assert (array.shape, array.dtype) == (self.array.shape, self.array.dtype)
        assert array.flags.c_contiguous
        self.array[...] = array

    def numpy(self):
        return self.array.copy()


class Session:
    """An InferenceSession."""

    refuses_graphs = False
    opened = ()

    def __init__(self, path, options, providers):
        ((name, settings),) = providers
        assert name == CUDA
        self.graph = settings.get("enable_cuda_graph") == "1"
        type(self).opened = (*self.opened, settings)
        if self.graph and self.refuses_graphs:
            raise RuntimeError("nodes have not been\npartitioned to the CUDA EP")
        self.real = RealSession(path, providers=["CPUExecutionProvider"])
        self.captured = {}

    def get_providers(self):
        return [CUDA, "CPUExecutionProvider"]

    def get_inputs(self):
        return self.real.get_inputs()

    def get_outputs(self):
        return self.real.get_outputs()

    def io_binding(self):
        bound = SimpleNamespace(inputs={}, outputs={})
        bound.bind_ortvalue_input = bound.inputs.__setitem__
        bound.bind_ortvalue_output = bound.outputs.__setitem__
        return bound

    def run_with_iobinding(self, bound, options):
        if not self.graph:
            with pytest.raises(RuntimeError, match="does not have"):
                options.get_run_config_entry("gpu_graph_id")
            return self.run(bound)
        number = options.get_run_config_entry("gpu_graph_id")
        if number not in self.captured:
            self.captured[number] = bound
            self.run(bound)  # the first of two runs, before the capture
        return self.run(self.captured[number])

    def run(self, bound):
        names = list(bound.outputs)
        feeds = {name: value.array for name, value in bound.inputs.items()}
        for name, result in zip(names, self.real.run(names, feeds), strict=True):
            bound.outputs[name].update_inplace(np.asarray(result))


def put_in_place(monkeypatch):
    """Let ``onnxruntime`` be one with CUDA, until the test is over."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "OrtValue", Value)
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load x\n")
    )
    monkeypatch.setattr(Session, "opened", ())
    monkeypatch.setattr(Value, "made", 0)
