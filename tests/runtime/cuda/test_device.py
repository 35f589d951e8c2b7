"""Everything that stands for a CUDA device has what the Protocols ask for."""

import inspect

import pytest

from derain.runtime.cuda import cuda_python, device, pycuda_device
from support import recording_cuda

PROTOCOLS = ("DeviceMemory", "HostMemory", "Stream", "Event", "Graph", "Device")


def _pairs():
    """Each Protocol with each class that is named after it."""
    for module in (cuda_python, pycuda_device, recording_cuda):
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                for name in filter(cls.__name__.endswith, PROTOCOLS):
                    yield getattr(device, name), cls


PAIRS = list(_pairs())


def test_all_of_them_are_found():
    assert len(PAIRS) == 3 * len(PROTOCOLS) - 1  # PyCUDA has no graphs


@pytest.mark.parametrize(
    ("protocol", "cls"),
    PAIRS,
    ids=[f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}" for _, cls in PAIRS],
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
