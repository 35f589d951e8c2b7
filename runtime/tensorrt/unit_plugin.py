"""The fused unit as an IPluginV3, for TensorRT 10.3 to 10.8; no GPU has run it.

It has no attributes: weights are an input. The kernel is compiled by NVRTC for the GPU
at hand when an engine is built, and again whenever one is loaded: `register_plugin` has
to be called before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.runtime.cuda import shuffle_unit as unit
from derain.runtime.cuda.kernel import CompiledKernel, LoadedKernel, compile_kernel
from derain.runtime.tensorrt.library import Api

if TYPE_CHECKING:
    import tensorrt as trt

NAMESPACE, VERSION = "derain", "1"
PLUGIN = f"{NAMESPACE}::{unit.NAME}"

# TensorRT holds no reference to a creator that Python made.
_creators: dict[str, Any] = {}


def unit_adder(api: Api, capability: str) -> Callable[[Any, Any, Any], Any]:
    """What adds one unit to a network: called with network, x and parameters.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: NVRTC is missing, or the kernel does not compile.
    """
    creator = register_plugin(api, PLUGIN, capability)

    def add(
        network: trt.INetworkDefinition, x: trt.ITensor, parameters: trt.ITensor
    ) -> trt.IPluginV3Layer:
        none = api.trt.PluginFieldCollection([])
        plugin = creator.create_plugin(unit.NAME, none, api.trt.TensorRTPhase.BUILD)
        return network.add_plugin_v3([x, parameters], [], plugin)

    return add


def register_plugin(api: Api, name: str, capability: str) -> Any:
    """Let TensorRT load engines that need the plugin `name`.

    Args:
        api: The library.
        name: As the engine's record says it.
        capability: Of the device that the next engine is loaded on.

    Returns:
        Its creator.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: There is no such plugin, NVRTC is missing, or the kernel does not
            compile.
    """
    if name != PLUGIN:
        raise EngineError(
            f"the engine needs the plugin {name}, which this derain does not have; "
            "compile it again with derain-compile --force"
        )
    kernel = _Kernel(compile_kernel(unit.SOURCE, unit.NAME, capability))
    if api.name not in _creators:
        creator = _creator(api.trt)
        registry: trt.IPluginRegistry = api.trt.get_plugin_registry()
        if not registry.register_creator(creator, NAMESPACE):
            raise EngineError(f"{api.name} {api.version} does not take plugin {name}")
        _creators[api.name] = creator
    _creators[api.name].kernel = kernel
    return _creators[api.name]


class _Kernel:
    """The kernel, loaded when it is first started: then there is a CUDA context."""

    def __init__(self, compiled: CompiledKernel) -> None:
        self._compiled = compiled
        self._loaded: LoadedKernel | None = None

    def start(
        self, shape: tuple[int, ...], inputs: list[int], outputs: list[int], stream: int
    ) -> None:
        """Start it on maps `(N, 32, H, W)` at `inputs`."""
        if self._loaded is None:
            self._loaded = LoadedKernel(self._compiled)
        batch, _, height, width = shape
        blocks, threads = unit.grid(batch, height, width), unit.defined("THREADS")
        self._loaded.launch(blocks, threads, stream, inputs, (height, width), outputs)


def _creator(trt: Any) -> Any:
    """A plugin creator of the module `trt`; set its `kernel` before it is asked."""
    plugin = _plugin(trt)

    class ShuffleUnitCreator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = unit.NAME
            self.plugin_namespace = NAMESPACE
            self.plugin_version = VERSION
            self.field_names = trt.PluginFieldCollection([])
            self.kernel: _Kernel | None = None

        def create_plugin(self, name: str, fields: object, phase: object) -> Any:
            return plugin(self.kernel)

    return ShuffleUnitCreator()


def _plugin(trt: Any) -> Any:
    """The class of the plugin, whose parents are of the module `trt`."""
    parents = (
        trt.IPluginV3,
        trt.IPluginV3OneCore,
        trt.IPluginV3OneBuild,
        trt.IPluginV3OneRuntime,
    )
    # Maps in FP16, a pixel's channels side by side in eights; parameters in FP32.
    maps = trt.DataType.HALF, trt.TensorFormat.HWC8
    numbers = trt.DataType.FLOAT, trt.TensorFormat.LINEAR
    wanted = maps, numbers, maps

    class ShuffleUnitPlugin(*parents):  # type: ignore[misc]
        def __init__(self, kernel: _Kernel) -> None:
            for parent in parents:
                parent.__init__(self)
            self.plugin_name = unit.NAME
            self.plugin_namespace = NAMESPACE
            self.plugin_version = VERSION
            self.num_outputs = 1
            self.kernel = kernel

        def get_capability_interface(self, type: object) -> Any:
            return self

        def clone(self) -> Any:
            return ShuffleUnitPlugin(self.kernel)

        def get_output_data_types(self, input_types: list[Any]) -> list[Any]:
            return [input_types[0]]

        def get_output_shapes(
            self, inputs: list[Any], shape_inputs: list[Any], expr_builder: Any
        ) -> list[Any]:
            return [trt.DimsExprs(inputs[0])]

        def supports_format_combination(
            self, pos: int, in_out: list[Any], num_inputs: int
        ) -> bool:
            got = in_out[pos].desc
            return (got.type, got.format) == wanted[pos]

        def configure_plugin(self, inputs: list[Any], outputs: list[Any]) -> None:
            pass

        def get_fields_to_serialize(self) -> Any:
            return trt.PluginFieldCollection([])

        def on_shape_change(self, inputs: list[Any], outputs: list[Any]) -> None:
            pass

        def set_tactic(self, tactic: int) -> None:
            pass

        def attach_to_context(self, resource_context: Any) -> Any:
            return self.clone()

        def enqueue(
            self,
            input_desc: list[Any],
            output_desc: list[Any],
            inputs: list[int],
            outputs: list[int],
            workspace: int,
            stream: int,
        ) -> None:
            dims = input_desc[0].dims
            shape = tuple(dims[axis] for axis in range(len(dims)))
            self.kernel.start(shape, list(inputs), list(outputs), stream)

    return ShuffleUnitPlugin
