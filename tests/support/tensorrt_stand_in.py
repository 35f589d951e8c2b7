"""Stands in for TensorRT's module: an engine whose network is "255 - x".

It runs on a `RecordingDevice`, when the device comes to it.
"""

from types import SimpleNamespace

import numpy as np

from derain.core.errors import EngineError

INPUT, OUTPUT = "frame", "derained"


class Context:
    def __init__(self, library):
        self.library = library
        self.nvtx_verbosity = "DETAILED"
        self.shape = None
        self.addresses = {}
        library.alive += 1

    def __del__(self):
        self.library.alive -= 1

    def set_input_shape(self, name, shape):
        assert name == INPUT
        device = self.library.device
        assert not any(work.name == "network" for work in device.pending), (
            "the shape changes while the network runs"
        )
        if self.library.fails("set_input_shape"):
            return False
        self.shape = tuple(shape) if self.library.takes_shapes else None
        self.library.cache.kernels.add("x".join(map(str, shape)))
        return self.library.takes_shapes

    def set_tensor_address(self, name, address):
        self.library.device.memory(address)
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
        if self.shape is None:
            return False
        source, target = self.addresses[INPUT], self.addresses[OUTPUT]
        count = int(np.prod(self.shape))
        library.runs += 1

        def network():
            frame = device.memory(source).content[:count]
            device.memory(target).content[:count] = 255 - frame

        mapped = device.memory(source).kind == "host memory"
        took_ms = library.mapped_ms if mapped else library.network_ms
        device.launch(
            stream_handle, "network", network, [source, target], took_ms, [target]
        )
        return True

    def is_stream_capturable(self, stream_handle):
        return self.library.capturable


class Engine:
    num_io_tensors = 2

    def __init__(self, library):
        self.library = library
        library.alive += 1

    def __del__(self):
        self.library.alive -= 1

    def get_tensor_name(self, index):
        return (INPUT, OUTPUT)[index]

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

    Attributes:
        alive: Runtimes, engines and contexts that were not freed.
        runs: How often the network was enqueued.
    """

    def __init__(self, device, name="tensorrt"):
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
        names = SimpleNamespace
        self.trt = names(
            Runtime=self._runtime,
            TensorIOMode=names(INPUT="in", OUTPUT="out"),
            DataType=names(UINT8="uint8"),
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
