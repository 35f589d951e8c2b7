"""The GPU's figures, from a stand-in for the module ``pynvml``."""

import sys
from types import SimpleNamespace

import pytest

from derain.benchmarks.latency.nvml import Gpu


class NVMLError(Exception):
    """As pynvml's."""


def refuse(*arguments):
    raise NVMLError


@pytest.fixture
def nvml(monkeypatch):
    module = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: "handle",
        nvmlDeviceGetName=lambda handle: "NVIDIA Test",
        nvmlSystemGetDriverVersion=lambda: "570.1",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=5 << 20),
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 2500,
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1980, 2: 2619}[kind],
        nvmlDeviceGetTemperature=lambda handle, sensor: 40,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4 | 0x40 | 0x1,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_every_figure_is_read(nvml):
    gpu = Gpu.find()
    assert (gpu.name, gpu.driver) == ("NVIDIA Test", "570.1")
    assert gpu.used_bytes() == 5 << 20
    assert gpu.joules() == 2.5
    assert gpu.clocks_mhz() == {"gpu": 1980, "gpu memory": 2619}
    assert gpu.celsius() == 40
    assert gpu.throttles() == ["power cap", "too hot (hardware)"]


def test_what_the_driver_does_not_tell_is_absent(nvml):
    for name in vars(nvml):
        if name.startswith(("nvmlDeviceGet", "nvmlSystem")):
            setattr(nvml, name, refuse)
    nvml.nvmlDeviceGetCount = lambda: 1
    nvml.nvmlDeviceGetHandleByIndex = lambda index: "handle"
    gpu = Gpu.find()
    assert gpu.name is gpu.driver is gpu.used_bytes() is None
    assert gpu.joules() is gpu.celsius() is None
    assert gpu.clocks_mhz() == {}
    assert gpu.throttles() == []


def test_without_a_device_there_is_no_gpu(nvml):
    nvml.nvmlDeviceGetCount = lambda: 0
    assert Gpu.find() is None


def test_without_a_driver_there_is_no_gpu(nvml):
    nvml.nvmlInit = refuse
    assert Gpu.find() is None


def test_without_the_package_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpu.find() is None


def test_the_names_it_asks_for_exist():
    pynvml = pytest.importorskip("pynvml")
    for name in (
        *("NVMLError", "NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU"),
        *("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"),
        *("nvmlDeviceGetName", "nvmlSystemGetDriverVersion", "nvmlDeviceGetMemoryInfo"),
        *("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetClockInfo"),
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
    ):
        assert hasattr(pynvml, name), name
