"""What is said about the GPU; on a machine without one, that there is none."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from derain.core.errors import EngineError
from derain.runtime.cuda.probe import probe


class Status(int):
    """An error code of CUDA."""

    def __new__(cls, code, name="cudaSuccess"):
        self = super().__new__(cls, code)
        self.name = name
        return self


def stand_in(monkeypatch, *, status=Status(0), count=1):  # noqa: B008 - immutable
    """A module in place of cuda.bindings.runtime."""
    module = ModuleType("cuda.bindings.runtime")
    properties = SimpleNamespace(
        name=b"Orin", major=8, minor=7, totalGlobalMem=8 << 30, integrated=1
    )
    module.cudaGetDeviceCount = lambda: (status, count)
    module.cudaGetErrorString = lambda code: (Status(0), b"what it means")
    module.cudaGetDeviceProperties = lambda device: (Status(0), properties)
    module.cudaDriverGetVersion = lambda: (Status(0), 12060)
    module.cudaRuntimeGetVersion = lambda: (Status(0), 13010)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", module)


def test_facts_of_a_device(monkeypatch):
    stand_in(monkeypatch)
    facts = probe()
    assert facts.name == "Orin"
    assert facts.compute_capability == "8.7"
    assert (facts.driver, facts.runtime) == ("12.6", "13.1")
    assert facts.memory_bytes == 8 << 30
    assert facts.integrated


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("cudaErrorInsufficientDriver", "install NVIDIA's driver"),
        ("cudaErrorNoDevice", "is one fitted"),
    ],
)
def test_no_gpu_is_one_line(monkeypatch, name, fix):
    stand_in(monkeypatch, status=Status(35, name))
    with pytest.raises(EngineError, match=f"no GPU: .*{name}: what it means.*{fix}"):
        probe()


def test_a_device_that_is_not_there(monkeypatch):
    stand_in(monkeypatch)
    with pytest.raises(EngineError, match="finds 1 devices, wanted number 3"):
        probe(3)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineError, match=r"pip install 'derain\[tensorrt\]'"):
        probe()


def test_the_real_bindings_answer():
    """Where there is no GPU: a line, never a crash."""
    runtime = pytest.importorskip("cuda.bindings.runtime")
    status, count = runtime.cudaGetDeviceCount()
    if int(status) == 0 and count:
        assert probe().memory_bytes > 0
        return
    with pytest.raises(EngineError, match=r"^no GPU: [^\n]*$"):
        probe()
