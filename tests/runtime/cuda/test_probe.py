"""What is said about the GPU; on a machine without one, that there is none."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from derain.core.errors import EngineError
from derain.runtime.cuda import extra
from derain.runtime.cuda.probe import probe


class Status(int):
    """An error code of CUDA."""

    def __new__(cls, code, name="cudaSuccess"):
        self = super().__new__(cls, code)
        self.name, self.value = name, code
        return self


def stand_in(monkeypatch, *, status=Status(0), count=1, driver=12060):  # noqa: B008
    """A module in place of cuda.bindings.runtime."""
    module = ModuleType("cuda.bindings.runtime")
    properties = SimpleNamespace(
        name=b"Orin",
        major=8,
        minor=7,
        totalGlobalMem=8 << 30,
        integrated=1,
        multiProcessorCount=8,
    )
    module.cudaGetDeviceCount = lambda: (status, count)
    module.cudaGetErrorString = lambda code: (Status(0), b"what it means")
    module.cudaGetDeviceProperties = lambda device: (Status(0), properties)
    module.cudaDriverGetVersion = lambda: (Status(0), driver)
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
    assert facts.multiprocessors == 8


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("cudaErrorInsufficientDriver", "the driver is for CUDA 12.6"),
        ("cudaErrorNoDevice", "is one fitted"),
    ],
)
def test_no_gpu_is_one_line(monkeypatch, name, fix):
    stand_in(monkeypatch, status=Status(35, name))
    with pytest.raises(EngineError, match=f"no GPU: .*{name}: what it means.*{fix}"):
        probe()


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        (0, "there is no NVIDIA driver: install one$"),
        (11040, r"for CUDA 11\.4, .*: install a newer driver, on a Jetson a newer Jet"),
        (12060, r"for CUDA 12\.6, this cuda-bindings for 13\.1; run: .*\[jetpack6\]"),
        (
            13000,
            r"for CUDA 13\.0, .* 13\.1: install a newer driver$",
        ),
    ],
    ids=["none", "jetpack 5", "jetpack 6", "jetpack 7"],
)
def test_a_driver_that_is_too_old_is_told_with_what_fits_it(monkeypatch, driver, says):
    status = Status(35, "cudaErrorInsufficientDriver")
    stand_in(monkeypatch, status=status, driver=driver)
    with pytest.raises(EngineError, match=says):
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


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        (None, "tensorrt"),
        ("# R36 (release), REVISION: 4.3, GCID: 1", "jetpack6"),
        ("# R38 (release), REVISION: 2.0", "jetpack7"),
        ("# R39 (release), REVISION: 0.0", "jetpack7"),
    ],
)
def test_each_jetpack_has_its_extra(tmp_path, release, wanted):
    file = tmp_path / "nv_tegra_release"
    if release is not None:
        file.write_text(release)
    assert extra(file) == wanted
