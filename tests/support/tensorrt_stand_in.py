"""Stands in for TensorRT's module: an engine whose network is "255 - x".

With states, what they were is mixed into the picture: see `network`. It runs on a
`RecordingDevice`, when the device comes to it.
"""

import math
from types import SimpleNamespace

import numpy as np

from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.core.states import FRAME_SHAPE, StateSpec

INPUT, OUTPUT, HEALTH = "frame", "derained", "health"
POISON = 13  # a frame that begins with it makes floating-point states NaN

WINDOW = tuple(
    StateSpec(name=f"state_{k}", shape=FRAME_SHAPE, dtype="uint8", start="frame")
    for k in range(2)
)
NUMBERS = (
    StateSpec(name="state_2", shape=(1, 4, "height/2", "width/2"), dtype="float16"),
    StateSpec(name="state_3", shape=(1, 2, "height", "width"), dtype="float32"),
)
BOTH = (*WINDOW, *NUMBERS)  # states of networks that never pad


def network(frame, states):
    """What the network makes of a frame and of its states.

    Frames are a window: each becomes the next one, the last the frame. Numbers fade and
    take in the frame's mean.

    Returns:
        The derained frame, the new states, and 0 where they are finite.
    """
    derained, new = 255 - frame, []
    window = [state for state in states if state.dtype == np.uint8]
    following = iter([*window[1:], frame])
    for state in states:
        if state.dtype == np.uint8:
            derained = derained ^ state
            new.append(next(following))
        else:
            derained = derained + np.uint8(16 * np.nan_to_num(state.max()))
            mean = np.nan if frame.flat[0] == POISON else frame.mean() / 255
            new.append((state / 2 + mean).astype(state.dtype))
    numbers = [state for state in new if state.dtype != np.uint8]
    return derained, new, sum(float((state * 0).sum()) for state in numbers)


def remembered(frames, specs, first=()):
    """What comes of `frames`, `(1, H, W, 3)`, one after the other.

    Args:
        frames: Of one size or of several: another size is a first frame.
        specs: The states, of networks that never pad.
        first: Where a first frame is, as well as at 0.
    """
    derained, states, last = [], [], None
    for index, frame in enumerate(frames):
        size = Size(frame.shape[2], frame.shape[1])
        if index in first or size != last:
            states = [
                frame
                if spec.start == "frame"
                else np.zeros(spec.shape_for(size, size), spec.dtype)
                for spec in specs
            ]
        picture, states, _ = network(frame, states)
        derained.append(picture)
        last = size
    return derained


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for index, (derained, right) in enumerate(zip(got, wanted, strict=True)):
        np.testing.assert_array_equal(derained, right, err_msg=f"frame {index}")


class Context:
    def __init__(self, library):
        self.library = library
        self.nvtx_verbosity = "DETAILED"
        self.shapes = {}
        self.addresses = {}
        library.alive += 1

    def __del__(self):
        self.library.alive -= 1

    def set_input_shape(self, name, shape):
        assert self.library.modes[name] == "in"
        device = self.library.device
        assert not any(work.name == "network" for work in device.pending), (
            "the shape changes while the network runs"
        )
        if self.library.fails("set_input_shape"):
            return False
        self.shapes[name] = tuple(shape) if self.library.takes_shapes else None
        if name == INPUT:
            self.library.cache.kernels.add("x".join(map(str, shape)))
        return self.library.takes_shapes

    def set_tensor_address(self, name, address):
        assert name in self.library.modes
        assert address % 256 == 0, "TensorRT wants 256"
        self.library.device.region(address, 1)
        if self.library.fails("set_tensor_address"):
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle):
        library, device = self.library, self.library.device
        if library.fails("enqueue"):
            return False
        if library.enqueue_fails:
            library.messages.errors.append("[executionContext.cpp] it went wrong")
            return False
        if self.shapes.get(INPUT) is None:
            return False
        states = library.states
        reads = [self._tensor(name) for name in (INPUT, *(s.input for s in states))]
        outputs = [OUTPUT, *(s.output for s in states)]
        writes = [self._tensor(name) for name in outputs]
        if HEALTH in library.modes:
            writes.append((device.region(self.addresses[HEALTH], 4), "float32", ()))
        library.runs += 1

        def work():
            frame, *before = (
                region.content.view(dtype).reshape(shape).copy()
                for region, dtype, shape in reads
            )
            derained, after, health = network(frame, before)
            results = [derained, *after, np.float32(health)]
            for (region, _, _), result in zip(writes, results, strict=False):
                region.content[:] = np.frombuffer(result.tobytes(), np.uint8)

        regions_in = [region for region, _, _ in reads]
        mapped = regions_in[0].memory.kind == "host memory"
        took_ms = library.mapped_ms if mapped else library.network_ms
        written = [region for region, _, _ in writes]
        device.launch(stream_handle, "network", work, regions_in, written, took_ms)
        return True

    def _tensor(self, name):
        """Where a frame or a state is, its type and its shape."""
        shape = self.shapes[INPUT if name == OUTPUT else name.replace("_out", "_in")]
        dtype = np.dtype(self.library.types[name])
        count = math.prod(shape) * dtype.itemsize
        region = self.library.device.region(self.addresses[name], count)
        return region, dtype, shape

    def is_stream_capturable(self, stream_handle):
        return self.library.capturable


class Engine:
    def __init__(self, library):
        self.library = library
        library.alive += 1

    def __del__(self):
        self.library.alive -= 1

    @property
    def num_io_tensors(self):
        return len(self.library.modes)

    def get_tensor_name(self, index):
        return [*self.library.modes][index]

    def get_tensor_mode(self, name):
        return self.library.modes[name]

    def get_tensor_dtype(self, name):
        return self.library.types[name]

    def create_runtime_config(self):
        library = self.library
        library.config = SimpleNamespace(
            create_runtime_cache=lambda: library.cache,
            set_runtime_cache=lambda cache: True,
        )
        return library.config

    def create_execution_context(self, *config):
        if self.library.no_room:
            self.library.messages.errors.append("[defaultAllocator.cpp] out of memory")
            return None
        if self.library.fails("create_execution_context"):
            return None
        self.library.contexts += 1
        return Context(self.library)


class RuntimeCache:
    """What TensorRT-RTX has compiled: of each size once."""

    def __init__(self):
        self.loaded = None
        self.kernels = set()

    def deserialize(self, kernels):
        self.loaded = kernels
        self.kernels = set(kernels.decode().split())
        return True

    def serialize(self):
        return " ".join(sorted(self.kernels)).encode()


class Runtime:
    def __init__(self, library, logger):
        self.library = library
        library.alive += 1
        library.host_code_allowed = False

    def __del__(self):
        self.library.alive -= 1

    def __setattr__(self, name, value):
        if name == "engine_host_code_allowed":
            self.library.host_code_allowed = value
        super().__setattr__(name, value)

    def deserialize_cuda_engine(self, plan):
        if plan != b"plan":
            self.library.messages.errors.append("[serialization] magic tag is wrong")
            return None
        if self.library.fails("deserialize_cuda_engine"):
            return None
        return Engine(self.library)


class Library:
    """What `open_api` returns, and what there is to turn.

    Args:
        device: What the engine runs on.
        name: Of the library.
        states: What the engine remembers, as `StateSpec`s.

    Attributes:
        alive: Runtimes, engines and contexts that were not freed.
        runs: How often the network was enqueued.
    """

    def __init__(self, device, name="tensorrt", states=()):
        self.device, self.name, self.version = device, name, "10.3.0"
        self.messages = SimpleNamespace(errors=[], warnings=[])
        self.logger = None
        self.alive = self.runs = self.contexts = 0
        self.cache = RuntimeCache()
        self.takes_shapes, self.capturable = True, True
        self.enqueue_fails = self.no_room = False
        self.network_ms, self.mapped_ms = 4.0, 5.0
        self.modes = {INPUT: "in", OUTPUT: "out"}
        self.types = {INPUT: "uint8", OUTPUT: "uint8"}
        self.states = states
        for state in states:
            self.modes |= {state.input: "in", state.output: "out"}
            self.types |= dict.fromkeys((state.input, state.output), state.dtype)
        if any(state.dtype != "uint8" for state in states):
            self.modes[HEALTH], self.types[HEALTH] = "out", "float32"
        names = SimpleNamespace
        self.trt = names(
            Runtime=self._runtime,
            TensorIOMode=names(INPUT="in", OUTPUT="out"),
            DataType=names(UINT8="uint8", FLOAT="float32", HALF="float16"),
            ProfilingVerbosity=names(NONE="NONE"),
            DynamicShapesKernelSpecializationStrategy=names(EAGER="EAGER"),
            CudaGraphStrategy=names(DISABLED="DISABLED"),
        )

    def fails(self, name):
        """Write a call down; whether it is the one that was chosen to fail.

        TensorRT then returns nothing, and its logger has said why.
        """
        try:
            self.device.called(name)
        except EngineError as error:
            self.messages.errors.append(str(error))
            return True
        return False

    def _runtime(self, logger):
        if self.fails("Runtime"):
            raise TypeError("factory function returned nullptr")
        return Runtime(self, logger)
