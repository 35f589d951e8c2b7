"""CUDA through PyCUDA: which of its names are called, and whose context is used.

PyCUDA cannot be compiled without CUDA; a module with the names of 2025.1 stands in.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from derain.core.errors import (
    EngineError,
    MissingDependencyError,
    UnknownNameError,
)
from derain.runtime.cuda import DEVICES, open_device
from derain.runtime.cuda.probe import probe


class Error(Exception):
    pass


class Allocation:
    def __init__(self, driver, size_bytes):
        self.driver, self.size_bytes = driver, size_bytes
        driver.allocated += 1

    def __int__(self):
        return 4096

    def get_device_pointer(self):
        return 8192

    def free(self):
        self.driver.allocated -= 1


class Driver(ModuleType):
    """Stands in for pycuda.driver."""

    Error = Error

    def __init__(self, current=None):
        super().__init__("pycuda.driver")
        self.stack = [current] if current else []
        self.allocated = 0
        self.calls = []
        driver = self

        class Context:
            @staticmethod
            def get_current():
                return driver.stack[-1] if driver.stack else None

            @staticmethod
            def get_device():
                return Device(0)

        class Primary:
            def push(self):
                driver.stack.append(self)

            def pop(self):
                assert driver.stack.pop() is self

        class Device:
            def __init__(self, number):
                self.number = number

            @staticmethod
            def count():
                return 1

            def retain_primary_context(self):
                return Primary()

            def name(self):
                return "Orin"

            def compute_capability(self):
                return (8, 7)

            def total_memory(self):
                return 8 << 30

            def get_attribute(self, attribute):
                return {"INTEGRATED": 1, "MULTIPROCESSOR_COUNT": 8}[attribute]

        class Event:
            def record(self, stream):
                driver.calls.append("record")

            def synchronize(self):
                driver.calls.append("wait for event")

            def time_till(self, other):
                return 1.5

        class Stream:
            handle = 77

            def __init__(self, flags=0):
                assert flags == 1, "it would wait for the default stream"

            def synchronize(self):
                raise Error("cuStreamSynchronize failed: an illegal\naddress")

            def wait_for_event(self, event):
                driver.calls.append("wait")

        self.Context, self.Device, self.Event, self.Stream = (
            Context,
            Device,
            Event,
            Stream,
        )
        self.device_attribute = SimpleNamespace(
            INTEGRATED="INTEGRATED", MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT"
        )
        self.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)

    def init(self):
        pass

    def get_driver_version(self):
        return 12060

    def get_version(self):
        return (12, 6, 0)

    def mem_alloc(self, size_bytes):
        return Allocation(self, size_bytes)

    def pagelocked_empty(self, shape, dtype, mem_flags):
        assert mem_flags == 2

        class Array(np.ndarray):
            base = Allocation(self, shape)

        return np.zeros(shape, dtype).view(Array)

    def memcpy_htod_async(self, dest, src, stream):
        self.calls.append(("up", dest, src.nbytes))

    def memcpy_dtoh_async(self, dest, src, stream):
        self.calls.append(("down", dest.nbytes, src))

    def memcpy_dtod_async(self, dest, src, size, stream):
        self.calls.append(("on", dest, src, size))

    def memset_d8_async(self, dest, data, count, stream):
        self.calls.append(("set", dest, data, count))


@pytest.fixture
def install(monkeypatch):
    def put(driver):
        package = ModuleType("pycuda")
        package.VERSION_TEXT = "2025.1"
        package.driver = driver
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        return driver

    return put


def test_a_context_of_the_caller_is_used_and_left(install):
    driver = install(Driver(current="the caller's"))
    device = open_device("pycuda")
    assert driver.stack == ["the caller's"]
    device.close()
    assert driver.stack == ["the caller's"]


def test_without_one_the_primary_context_is_current_until_close(install):
    driver = install(Driver())
    device = open_device("pycuda")
    assert len(driver.stack) == 1
    device.close()
    device.close()
    assert driver.stack == []


def test_facts(install):
    install(Driver())
    device = open_device("pycuda")
    assert device.description == "pycuda 2025.1, waits as CUDA chooses"
    assert device.facts.multiprocessors == 8
    assert not device.has_graphs
    facts = device.facts
    assert (facts.name, facts.compute_capability) == ("Orin", "8.7")
    assert (facts.driver, facts.runtime) == ("12.6", "12.6")
    assert facts.integrated


def test_memory_and_copies(install):
    driver = install(Driver())
    device = open_device("pycuda")
    host, memory = device.host_memory(100), device.device_memory(100)
    assert (host.address, memory.address) == (8192, 4096)
    stream, event = device.stream(), device.event()
    device.upload(memory, host, 60, stream)
    event.record(stream)
    stream.wait(event)
    device.download(host, memory, 40, stream)
    assert driver.calls == [("up", 4096, 60), "record", "wait", ("down", 40, 4096)]
    driver.calls.clear()
    device.copy(memory, memory, 30, stream)
    device.clear(memory, 20, stream)
    assert driver.calls == [("on", 4096, 4096, 30), ("set", 4096, 0, 20)]
    assert device.elapsed_ms(event, event) == 1.5
    assert stream.handle == 77
    for resource in (host, memory, stream, event):
        resource.close()
        resource.close()
    assert driver.allocated == 0
    with pytest.raises(EngineError, match="used after it was closed"):
        event.record(stream)


def test_errors_are_one_line(install):
    install(Driver())
    stream = open_device("pycuda").stream()
    expected = "^cuStreamSynchronize failed: an illegal address$"
    with pytest.raises(EngineError, match=expected):
        stream.synchronize()


def test_no_gpu_is_one_line(install):
    driver = install(Driver())

    def fail():
        raise Error("cuInit failed: no CUDA-capable device is detected")

    driver.init = fail
    with pytest.raises(EngineError, match=r"^no GPU: cuInit failed: no CUDA-capable"):
        open_device("pycuda")


def test_without_a_driver_it_is_one_line(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "pycuda.driver":
                raise ImportError("libcuda.so.1: cannot open shared object file")

    package = ModuleType("pycuda")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(EngineError, match=r"^no GPU: pycuda does not load: libcuda"):
        open_device("pycuda")


def test_the_gpu_is_asked_through_pycuda_where_nothing_else_is(install, monkeypatch):
    driver = install(Driver())
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert probe().name == "Orin"
    assert driver.stack == []
    with pytest.raises(EngineError, match="finds 1 devices, wanted number 3"):
        probe(3)


def test_a_device_that_is_not_there(install):
    install(Driver())
    with pytest.raises(EngineError, match="finds 1 devices, wanted number 1"):
        open_device("pycuda", 1)


def test_there_are_no_graphs(install):
    install(Driver())
    device = open_device("pycuda")
    with pytest.raises(EngineError, match="pycuda has no CUDA graphs"):
        device.capture(device.stream(), lambda: None)


def test_the_first_package_that_is_installed_is_taken(install, monkeypatch):
    install(Driver())
    monkeypatch.setattr("derain.runtime.cuda._is_installed", lambda n: n == "pycuda")
    assert open_device().description.startswith("pycuda 2025.1")


def test_no_package_at_all(monkeypatch):
    monkeypatch.setattr("derain.runtime.cuda._is_installed", lambda name: False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'derain\[tensorrt"):
        open_device()


def test_an_unknown_package_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=f"choose from {', '.join(DEVICES)}"):
        open_device("cupy")


class TooNew:
    def __init__(self, number):
        raise EngineError("no GPU: the driver is for CUDA 12.6")


def test_pycuda_is_used_where_the_first_package_does_not_start(
    install, monkeypatch, said
):
    """cuda-bindings 13 on JetPack 6: it can be imported, and its first call fails."""
    cuda_python = pytest.importorskip("derain.runtime.cuda.cuda_python")
    monkeypatch.setattr(cuda_python, "CudaPythonDevice", TooNew)
    monkeypatch.setattr("derain.runtime.cuda._is_installed", lambda name: True)
    install(Driver())
    assert open_device().description.startswith("pycuda")
    assert said() == ["no GPU: the driver is for CUDA 12.6; pycuda is used instead"]


def test_where_none_starts_the_first_says_why(monkeypatch):
    cuda_python = pytest.importorskip("derain.runtime.cuda.cuda_python")
    monkeypatch.setattr(cuda_python, "CudaPythonDevice", TooNew)
    monkeypatch.setattr("derain.runtime.cuda._is_installed", lambda name: True)
    with pytest.raises(EngineError, match=r"^no GPU: the driver is for CUDA 12\.6$"):
        open_device()
