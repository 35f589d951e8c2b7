"""CUDA through cuda.bindings: its functions, their errors; on a GPU, the real thing."""

import ast
import inspect
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.runtime")

from cuda.bindings.utils import get_cuda_native_handle

from derain.core.errors import EngineError
from derain.runtime.cuda import cuda_python, open_device

cudart = cuda_python.cudart


@pytest.fixture
def gpu():
    """A device; skips where there is none, with the reason."""
    try:
        device = open_device("cuda-bindings")
    except EngineError as error:
        pytest.skip(str(error))
    yield device
    device.close()


# What CUDA gives out as an object, and not as a number.
OBJECTS = {
    "cudaStreamCreateWithFlags": cudart.cudaStream_t,
    "cudaEventCreateWithFlags": cudart.cudaEvent_t,
    "cudaStreamEndCapture": cudart.cudaGraph_t,
    "cudaGraphInstantiate": cudart.cudaGraphExec_t,
}


def plain(handle):
    return handle if isinstance(handle, int) else get_cuda_native_handle(handle)


class Bindings:
    """The real bindings, but every call succeeds; it is written down."""

    def __init__(self):
        self.calls, self.arguments = [], []
        self.failing = {}
        self.alive = set()

    def __getattr__(self, name):
        real = getattr(cudart, name)
        if not inspect.isroutine(real) or name.startswith("cudaGetErr"):
            return real

        def function(*arguments):
            self.calls.append(name)
            if name in self.failing:
                return (self.failing[name],)
            self.arguments.append(arguments)
            result = 4096 * len(self.calls)
            returned = OBJECTS.get(name, int)(result)
            if name.endswith("Destroy") or name.startswith("cudaFree"):
                self.alive.remove(plain(arguments[0]))
            elif name.startswith(("cudaMalloc", "cudaHostAlloc")) or (
                name
                in (
                    "cudaStreamCreateWithFlags",
                    "cudaEventCreateWithFlags",
                    "cudaGraphInstantiate",
                    "cudaStreamEndCapture",
                )
            ):
                self.alive.add(result)
            return (cudart.cudaError_t.cudaSuccess, returned)

        return function


@pytest.fixture
def bindings(monkeypatch):
    stand_in = Bindings()
    monkeypatch.setattr(cuda_python, "cudart", stand_in)
    return stand_in


@pytest.fixture
def device(monkeypatch, bindings):
    return open_with(monkeypatch, integrated=True)


def open_with(monkeypatch, integrated):
    facts = SimpleNamespace(integrated=integrated)
    monkeypatch.setattr(cuda_python, "ask_bindings", lambda number: facts)
    return cuda_python.CudaPythonDevice()


def names_called():
    """Names of CUDA's functions that the module calls."""
    tree = ast.parse(inspect.getsource(cuda_python))
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if text.startswith("cuda") and text.isalnum()}


def test_every_function_is_in_the_bindings():
    names = names_called()
    assert {"cudaHostAlloc", "cudaGraphLaunch", "cudaEventRecordWithFlags"} <= names
    assert [name for name in names if not callable(getattr(cudart, name, None))] == []


def test_an_error_is_one_line_and_is_not_left_for_others(bindings):
    bindings.failing["cudaMalloc"] = cudart.cudaError_t.cudaErrorMemoryAllocation
    expected = "^cudaMalloc: cudaErrorMemoryAllocation: out of memory$"
    with pytest.raises(EngineError, match=expected):
        cuda_python.CudaDeviceMemory(8)
    assert bindings.calls[-1] == "cudaGetLastError"


@pytest.mark.parametrize("make", ["stream", "event"])
def test_close_twice_frees_once(bindings, device, make):
    resource = getattr(device, make)()
    resource.close()
    resource.close()
    assert not bindings.alive
    with pytest.raises(EngineError, match="is used after it was closed"):
        resource.synchronize()


def test_host_memory_that_cannot_be_mapped_is_freed(bindings):
    bindings.failing["cudaHostGetDevicePointer"] = (
        cudart.cudaError_t.cudaErrorInvalidValue
    )
    with pytest.raises(EngineError, match=r"^cudaHostGetDevicePointer: "):
        cuda_python.CudaHostMemory(8)
    assert not bindings.alive


def test_a_capture_is_local_to_its_thread(bindings, device, monkeypatch):
    modes = []
    begin = bindings.cudaStreamBeginCapture
    monkeypatch.setattr(
        bindings,
        "cudaStreamBeginCapture",
        lambda stream, mode: modes.append(mode) or begin(stream, mode),
        raising=False,
    )
    stream = device.stream()
    graph = device.capture(stream, lambda: bindings.calls.append("work"))
    assert modes == [cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal]
    wanted = ["cudaStreamBeginCapture", "work", "cudaStreamEndCapture"]
    wanted += ["cudaGraphInstantiate", "cudaGraphDestroy"]
    assert bindings.calls[-5:] == wanted
    graph.close()
    stream.close()
    assert not bindings.alive


@pytest.mark.parametrize(
    ("integrated", "flags", "waits"),
    [
        (True, cudart.cudaEventBlockingSync, "waits asleep"),
        (False, cudart.cudaEventDefault, "waits as CUDA chooses"),
    ],
    ids=["jetson", "card"],
)
def test_the_processor_of_a_jetson_sleeps_while_it_waits(
    bindings, monkeypatch, integrated, flags, waits
):
    device = open_with(monkeypatch, integrated)
    assert ("cudaSetDeviceFlags" in bindings.calls) == integrated
    device.event().close()
    assert bindings.arguments[-2] == (flags,)
    assert device.description.endswith(f", {waits}")


def test_handles_are_numbers_whatever_cuda_gives_out(bindings, device):
    """Without int() of an object, which 12.9.1 deprecated."""
    stream = device.stream()
    assert type(stream.handle) is int
    assert stream.handle == 4096 * len(bindings.calls)
    assert "int(" not in inspect.getsource(cuda_python)


def test_work_that_fails_ends_the_capture(bindings, device):
    def work():
        raise EngineError("the network does not start")

    stream = device.stream()
    with pytest.raises(EngineError, match=r"^the network does not start$"):
        device.capture(stream, work)
    assert bindings.calls[-2:] == ["cudaStreamEndCapture", "cudaGraphDestroy"]
    bindings.failing["cudaStreamEndCapture"] = (
        cudart.cudaError_t.cudaErrorStreamCaptureInvalidated
    )
    with pytest.raises(EngineError, match=r"^the network does not start$"):
        device.capture(stream, work)
    stream.close()
    assert not bindings.alive


def test_a_graph_that_cannot_be_made_leaves_nothing(bindings, device):
    stream = device.stream()
    bindings.failing["cudaGraphInstantiate"] = (
        cudart.cudaError_t.cudaErrorMemoryAllocation
    )
    with pytest.raises(EngineError, match=r"^cudaGraphInstantiate: "):
        device.capture(stream, lambda: None)
    stream.close()
    assert not bindings.alive


def test_events_in_a_graph_are_recorded_when_it_runs(bindings, device):
    stream, event = device.stream(), device.event()
    event.record(stream)
    event.record(stream, in_graph=True)
    assert bindings.calls[-2:] == ["cudaEventRecord", "cudaEventRecordWithFlags"]


def arguments_of(device):
    """Every call with arguments as the code gives them, by name."""
    number = 4096
    copy = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    return {
        "cudaSetDevice": (device,),
        "cudaSetDeviceFlags": (cudart.cudaDeviceScheduleBlockingSync,),
        "cudaMalloc": (number,),
        "cudaHostAlloc": (number, cudart.cudaHostAllocMapped),
        "cudaHostGetDevicePointer": (number, 0),
        "cudaFree": (number,),
        "cudaFreeHost": (number,),
        "cudaStreamCreateWithFlags": (cudart.cudaStreamNonBlocking,),
        "cudaStreamDestroy": (number,),
        "cudaStreamWaitEvent": (number, number, 0),
        "cudaStreamSynchronize": (number,),
        "cudaEventCreateWithFlags": (cudart.cudaEventBlockingSync,),
        "cudaEventDestroy": (number,),
        "cudaEventRecord": (number, number),
        "cudaEventRecordWithFlags": (number, number, cudart.cudaEventRecordExternal),
        "cudaEventSynchronize": (number,),
        "cudaEventElapsedTime": (number, number),
        "cudaMemcpyAsync": (number, number, number, copy, number),
        "cudaMemsetAsync": (number, 0, number, number),
        "cudaStreamBeginCapture": (number, mode),
        "cudaStreamEndCapture": (number,),
        "cudaGraphInstantiate": (cudart.cudaGraph_t(number), 0),
        "cudaGraphDestroy": (cudart.cudaGraph_t(number),),
        "cudaGraphLaunch": (number, number),
        "cudaGraphExecDestroy": (number,),
    }


def test_the_real_bindings_take_our_arguments():
    """Without a driver each answers with an error; a wrong argument is a TypeError."""
    status, count = cudart.cudaGetDeviceCount()
    if int(status) == 0 and count:
        pytest.skip("made-up addresses would crash a machine with a GPU")
    calls = arguments_of(0)
    assert set(calls) == names_called()
    for name, arguments in calls.items():
        with pytest.raises(EngineError, match=rf"^{name}: cudaError"):
            cuda_python.call(name, *arguments)


@pytest.mark.gpu
def test_a_round_trip_on_a_gpu(gpu):
    stream = gpu.stream()
    start, end = gpu.event(), gpu.event()
    there, back = gpu.host_memory(1 << 20), gpu.host_memory(1 << 20)
    memory = gpu.device_memory(1 << 20)

    def work(*, in_graph=False):
        start.record(stream, in_graph=in_graph)
        gpu.upload(memory, there, 1 << 20, stream)
        gpu.download(back, memory, 1 << 20, stream)
        end.record(stream, in_graph=in_graph)

    there.array[:] = np.arange(1 << 20) % 251
    work()
    end.synchronize()
    np.testing.assert_array_equal(back.array, there.array)
    assert gpu.elapsed_ms(start, end) > 0

    graph = gpu.capture(stream, lambda: work(in_graph=True))
    there.array[:] = np.arange(1 << 20) % 239
    graph.launch(stream)
    stream.synchronize()
    np.testing.assert_array_equal(back.array, there.array)
    assert gpu.elapsed_ms(start, end) > 0
    for resource in (graph, start, end, there, back, memory, stream):
        resource.close()


@pytest.mark.gpu
def test_memory_is_copied_and_cleared_on_a_gpu(gpu):
    stream, there, back = gpu.stream(), gpu.host_memory(64), gpu.host_memory(64)
    first, second = gpu.device_memory(64), gpu.device_memory(64)
    there.array[:] = 7
    gpu.upload(first, there, 64, stream)
    gpu.copy(second, first, 64, stream)
    gpu.clear(second, 16, stream)
    gpu.download(back, second, 64, stream)
    stream.synchronize()
    assert back.array.tolist() == [0] * 16 + [7] * 48
    for resource in (there, back, first, second, stream):
        resource.close()


@pytest.mark.gpu
def test_a_stream_waits_for_another_on_a_gpu(gpu):
    first, second, event = gpu.stream(), gpu.stream(), gpu.event()
    there, back = gpu.host_memory(1 << 24), gpu.host_memory(1 << 24)
    memory = gpu.device_memory(1 << 24)
    there.array[:] = 7
    gpu.upload(memory, there, 1 << 24, first)
    event.record(first)
    second.wait(event)
    gpu.download(back, memory, 1 << 24, second)
    second.synchronize()
    assert (back.array == 7).all()
    for resource in (event, there, back, memory, first, second):
        resource.close()


@pytest.mark.gpu
def test_what_cannot_be_captured_leaves_the_stream_usable_on_a_gpu(gpu):
    stream, event = gpu.stream(), gpu.event()
    with pytest.raises(EngineError, match=r"^cudaStreamSynchronize: "):
        gpu.capture(stream, stream.synchronize)
    event.record(stream)
    stream.synchronize()
    event.close()
    stream.close()
