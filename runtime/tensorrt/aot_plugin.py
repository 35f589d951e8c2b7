"""The fused unit as an ahead-of-time plugin, from TensorRT 10.9; no GPU has run it.

The kernel, as PTX, becomes part of the engine: nothing is needed where that is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from derain.runtime.cuda import shuffle_unit as unit
from derain.runtime.cuda.kernel import compile_ptx
from derain.runtime.tensorrt.library import MODULES, Api
from derain.runtime.tensorrt.unit_plugin import NAMESPACE, PLUGIN

if TYPE_CHECKING:
    import tensorrt as trt

_FORMATS = "FP16, FP32, FP16", "HWC8, LINEAR, HWC8"  # of maps, parameters and result


def has_aot_plugins(api: Api) -> bool:
    """Whether kernels can be part of an engine: TensorRT 10.9 and newer."""
    # What TensorRT's own Python package asks.
    return hasattr(api.trt, "QuickPluginCreationRequest")


def aot_adder(api: Api, capability: str) -> Callable[[Any, Any, Any], Any]:
    """What adds one unit to a network: called with network, x and parameters.

    Once in a process: a plugin is registered for good.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: NVRTC is missing, or the kernel does not compile.
    """
    ptx = compile_ptx(unit.SOURCE, capability)
    plugins = importlib.import_module(f"{MODULES[api.name]}.plugin")
    define(plugins, ptx)
    made = getattr(getattr(plugins.op, NAMESPACE), unit.NAME)

    def add(network: Any, x: trt.ITensor, parameters: trt.ITensor) -> Any:
        # A method that 10.3 does not have.
        return network.add_plugin(made(x, parameters), aot=True)

    return add


def define(plugins: Any, ptx: bytes) -> None:
    """Tell TensorRT what the plugin is.

    Args:
        plugins: The module ``tensorrt.plugin``.
        ptx: The kernel for the device to build for.
    """

    def describe(maps: Any, parameters: Any) -> Any:
        return maps.like()

    def formats(maps: Any, parameters: Any, outputs: Any) -> Any:
        return [plugins.AutoTuneCombination(*_FORMATS)]

    def implement(maps: Any, parameters: Any, outputs: Any, tactic: Any) -> Any:
        batch, _, height, width = maps.shape_expr
        launch = plugins.KernelLaunchParams(
            grid_x=plugins.cdiv(width, unit.defined("TILE_WIDTH")),
            grid_y=plugins.cdiv(height, unit.defined("TILE_HEIGHT")),
            grid_z=batch,
            block_x=unit.defined("THREADS"),
        )
        extra = plugins.SymIntExprs(2)
        extra[0] = plugins.SymInt32(height)
        extra[1] = plugins.SymInt32(width)
        return unit.NAME, ptx, launch, extra

    # TensorRT wants classes for annotations; those of this file are texts.
    tensor = plugins.TensorDesc
    describe.__annotations__ = {"maps": tensor, "parameters": tensor, "return": tensor}
    formats.__annotations__ = {}
    returned = tuple[str, bytes, plugins.KernelLaunchParams, plugins.SymIntExprs]
    implement.__annotations__ = {"return": returned}
    plugins.register(PLUGIN)(describe)
    plugins.autotune(PLUGIN)(formats)
    plugins.aot_impl(PLUGIN)(implement)
