"""Open the engine of a bundle that fits this machine, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

from contextlib import ExitStack

from derain.core.bundle import Bundle
from derain.runtime.cuda import open_device
from derain.runtime.cuda.device import own
from derain.runtime.cuda.probe import probe
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.engine_backend import TensorRtBackend
from derain.runtime.tensorrt.engine_fit import read_plan
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.library import open_api
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine
from derain.runtime.tensorrt.unit_plugin import register_plugin


def open_tensorrt(bundle: Bundle, threads: int = 0) -> TensorRtBackend:
    """The engine of `bundle` for TensorRT, which needs no processor threads."""
    return _open(bundle, "tensorrt")


def open_tensorrt_rtx(bundle: Bundle, threads: int = 0) -> TensorRtBackend:
    """The engine of `bundle` for TensorRT-RTX, which needs no processor threads."""
    return _open(bundle, "tensorrt-rtx")


def check_tensorrt() -> str:
    """Why TensorRT works here; an `EngineError` says why not."""
    return _check("tensorrt")


def check_tensorrt_rtx() -> str:
    """Why TensorRT-RTX works here; an `EngineError` says why not."""
    return _check("tensorrt-rtx")


def _check(name: EngineBackend) -> str:
    gpu = probe()  # before the library, which crashes where there is no GPU
    return f"{name} {open_api(name).version} on {gpu.name}"


def _open(bundle: Bundle, name: EngineBackend) -> TensorRtBackend:
    size = bundle.manifest.sizes.optimum  # that of the golden frame, which comes first
    with ExitStack() as stack:
        # Before TensorRT is touched: without a GPU it answers with a crash.
        device = own(stack, open_device())
        api = open_api(name)
        record, plan = read_plan(bundle, name, api.version, device.facts, size)
        if record.plugin is not None:
            capability = device.facts.compute_capability
            register_plugin(api, record.plugin, capability)
        kernels = None
        if versions.compiles_at_start(api):
            kernels = CacheFile.default("kernels", name, api.version, device.facts)
        engine = TensorRtEngine(api, record, plan, kernels, bundle.manifest.padded)
        stack.pop_all()  # the backend owns the device now
    backend = TensorRtBackend(device, engine, size)
    try:
        backend.warm_up(size)
    except BaseException:
        backend.close()
        raise
    return backend
