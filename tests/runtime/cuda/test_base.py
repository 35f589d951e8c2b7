"""Everything that stands for a CUDA device has what the Protocols ask for."""

import importlib.util
import inspect
from pathlib import Path

import pytest

from derain.runtime.cuda import base, cuda_python, pycuda_device

PROTOCOLS = ("DeviceMemory", "HostMemory", "Stream", "Event", "Graph", "Device")


def _recording():
    path = Path(__file__).parent / "recording.py"
    spec = importlib.util.spec_from_file_location("derain_tests_recording", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _classes():
    recording = _recording()
    for name in PROTOCOLS:
        protocol = getattr(base, name)
        prefixes = {"Device": ("CudaPython", "Pycuda", "Recording")}
        for prefix in prefixes.get(name, ("Cuda", "Pycuda", "")):
            module = {"Pycuda": pycuda_device, "Cuda": cuda_python}.get(
                prefix, cuda_python if prefix == "CudaPython" else recording
            )
            if (prefix, name) != ("Pycuda", "Graph"):  # it has none
                yield protocol, getattr(module, prefix + name)


@pytest.mark.parametrize(
    ("protocol", "cls"),
    [
        pytest.param(p, c, id=f"{c.__module__[-14:]}.{c.__name__}")
        for p, c in _classes()
    ],
)
def test_methods_take_what_the_protocol_says(protocol, cls):
    methods = inspect.getmembers(protocol, inspect.isfunction)
    for name, method in methods:
        if name.startswith("_"):
            continue
        wanted = inspect.signature(method).parameters
        got = inspect.signature(getattr(cls, name)).parameters
        assert [(p.name, p.kind) for p in got.values()] == [
            (p.name, p.kind) for p in wanted.values()
        ], name
