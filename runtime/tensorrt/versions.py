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


def create_runtime(api: Api, *, version_compatible: bool) -> trt.Runtime:
    """What loads engines.

    A version-compatible engine carries a runtime of its own, which is host code: it is
    loaded only if that is allowed.
    """
    runtime: trt.Runtime = api.trt.Runtime(api.logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    return runtime


def create_context(api: Api, engine: trt.ICudaEngine) -> trt.IExecutionContext | None:
    """What runs an engine; None if it cannot be made."""
    context: trt.IExecutionContext | None
    if api.name == "tensorrt-rtx":
        # For a size that is new, TensorRT-RTX compiles kernels: by itself beside the
        # first frames, which a captured graph would keep running with the slow ones.
        strategies = api.trt.DynamicShapesKernelSpecializationStrategy
        rtx: Any = engine  # of a type that TensorRT itself does not have
        config = rtx.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        config.cuda_graph_strategy = api.trt.CudaGraphStrategy.DISABLED  # we capture
        context = rtx.create_execution_context(config)
    else:
        context = engine.create_execution_context()
    if context is not None:
        # Engines are built with detailed names, for the inspector: no need to make NVTX
        # ranges of them for every layer of every frame.
        context.nvtx_verbosity = api.trt.ProfilingVerbosity.NONE
    return context


def can_be_captured(api: Api, context: Any, stream_handle: int) -> bool:
    """Whether a context may run while a CUDA graph is captured.

    TensorRT says so by the error of the capture; TensorRT-RTX can be asked.
    """
    if api.name == "tensorrt-rtx":
        return bool(context.is_stream_capturable(stream_handle))
    return True
