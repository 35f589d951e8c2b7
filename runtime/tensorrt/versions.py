"""What differs between TensorRT 10.3 … 11.x and TensorRT-RTX, and from which version.

Everything else in this package is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.runtime.tensorrt.library import Api

if TYPE_CHECKING:
    import tensorrt as trt


def create_network(api: Api, builder: trt.Builder) -> trt.INetworkDefinition:
    """An empty network whose types are those of the ONNX file.

    TensorRT 10 chooses precisions itself unless the network is created strongly typed.
    From 11 on, and in TensorRT-RTX, every network is.
    """
    flags = 0
    if api.name == "tensorrt" and api.version.startswith("10."):
        flags = 1 << int(api.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return builder.create_network(flags)


def has_timing_cache(api: Api) -> bool:
    """Whether builds get faster by what earlier ones measured.

    TensorRT-RTX measures nothing: its timing cache has done nothing since 1.2.
    """
    return api.name == "tensorrt"


def compiles_at_start(api: Api) -> bool:
    """Whether kernels are compiled when an engine is loaded, and worth keeping."""
    return api.name == "tensorrt-rtx"


def needs_gpu(api: Api) -> bool:
    """Whether the builder starts only where a GPU is: TensorRT's returns nullptr."""
    return api.name == "tensorrt"


def set_hardware_compatible(api: Api, config: trt.IBuilderConfig) -> None:
    """Make an engine for every GPU since Ampere.

    Raises:
        EngineError: TensorRT-RTX lists compute capabilities instead.
    """
    if api.name == "tensorrt-rtx":
        raise EngineError(
            "tensorrt-rtx has no --hardware-compatible; give one "
            "--compute-capability for each kind of GPU"
        )
    level = api.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    config.hardware_compatibility_level = level


def set_version_compatible(api: Api, config: trt.IBuilderConfig) -> None:
    """Make an engine that later versions of the same major version load, too.

    Raises:
        EngineError: TensorRT-RTX 1.7 comes without the library that this needs.
    """
    if api.name == "tensorrt-rtx":
        raise EngineError(
            "tensorrt-rtx has no --version-compatible: it comes without the "
            "lean runtime"
        )
    config.set_flag(api.trt.BuilderFlag.VERSION_COMPATIBLE)


def set_compute_capabilities(
    api: Api, config: Any, capabilities: Sequence[str]
) -> None:
    """Make an engine for GPUs of these compute capabilities, present or not.

    Args:
        api: The library.
        config: Changed in place; of a type that TensorRT itself does not have.
        capabilities: Such as ``"8.6"``; not empty.

    Raises:
        EngineError: The library cannot: TensorRT builds for the GPU that is there, and
            TensorRT-RTX for those it has kernels for.
    """
    if api.name == "tensorrt":
        raise EngineError(
            "tensorrt builds for the GPU it runs on; --compute-capability is for "
            "--backend tensorrt-rtx"
        )
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in api.trt.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    for capability in capabilities:
        if capability not in known:
            raise EngineError(
                f"tensorrt-rtx {api.version} cannot build for compute capability "
                f"{capability}; choose from {', '.join(known)}"
            )
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(known[capability], index)


def set_tiling(api: Api, config: Any, level: str) -> None:
    """Let the builder look for kernels that hand tiles to each other through L2.

    Args:
        api: The library.
        config: Changed in place; of a type that TensorRT 10.3 does not have.
        level: ``none``, ``fast``, ``moderate`` or ``full``.

    Raises:
        EngineError: The library cannot: TensorRT before 10.8.
    """
    levels = getattr(api.trt, "TilingOptimizationLevel", None)
    if levels is None:
        raise EngineError(
            f"{api.name} {api.version} has no --tiling, which came with TensorRT 10.8 "
            "(JetPack 7)"
        )
    config.tiling_optimization_level = getattr(levels, level.upper())


def require_user_allocation(api: Api, config: trt.IBuilderConfig) -> None:
    """Make an engine of TensorRT-RTX that can be captured into a CUDA graph.

    Else it may allocate memory while it runs. TensorRT's own engines do not.
    """
    flag = getattr(api.trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if api.name == "tensorrt-rtx" and flag is not None:
        config.set_flag(flag)


def create_runtime(api: Api, *, version_compatible: bool) -> trt.Runtime:
    """What loads engines.

    A version-compatible engine carries a runtime of its own, which is host code: it is
    loaded only if that is allowed.
    """
    runtime: trt.Runtime = api.trt.Runtime(api.logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    return runtime


def create_context(
    api: Api, engine: trt.ICudaEngine, kernels: bytes = b""
) -> tuple[trt.IExecutionContext | None, Any]:
    """What runs an engine; None if it cannot be made.

    Args:
        api: The library.
        engine: What it has loaded.
        kernels: What `serialize_kernels` gave in an earlier run, or nothing. Those of
            another version, GPU or driver are refused by the library itself.

    Returns:
        The context, and TensorRT-RTX's cache of the kernels it compiles; None where
        TensorRT made them when it built the engine.
    """
    cache: Any = None
    context: trt.IExecutionContext | None
    if api.name == "tensorrt-rtx":
        # For a size that is new, TensorRT-RTX compiles kernels: by itself beside the
        # first frames, which a captured graph would keep running with the slow ones.
        strategies = api.trt.DynamicShapesKernelSpecializationStrategy
        rtx: Any = engine  # of a type that TensorRT itself does not have
        config = rtx.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        config.cuda_graph_strategy = api.trt.CudaGraphStrategy.DISABLED  # we capture
        cache = config.create_runtime_cache()
        if kernels:
            cache.deserialize(kernels)
        config.set_runtime_cache(cache)
        context = rtx.create_execution_context(config)
    else:
        context = engine.create_execution_context()
    if context is not None:
        # Engines are built with detailed names, for the inspector: no need to make NVTX
        # ranges of them for every layer of every frame.
        context.nvtx_verbosity = api.trt.ProfilingVerbosity.NONE
    return context, cache


def serialize_kernels(cache: Any) -> bytes:
    """What TensorRT-RTX has compiled so far, for the next start."""
    data = cache.serialize()
    return b"" if data is None else bytes(memoryview(data))


def can_be_captured(api: Api, context: Any, stream_handle: int) -> bool:
    """Whether a context may run while a CUDA graph is captured.

    TensorRT says so by the error of the capture; TensorRT-RTX can be asked.
    """
    if api.name == "tensorrt-rtx":
        return bool(context.is_stream_capturable(stream_handle))
    return True
