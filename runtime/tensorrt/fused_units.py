"""Network surgery: each ShuffleNet unit of a parsed network as one plugin layer.

The parser knows no plugin for the ``ShuffleUnit`` nodes that ``derain-export
--fused-units`` made; it takes their bodies. Their layers are named after the nodes of
the function, whose name each call has for itself, so they are found by name; all that
reads a unit's result is then given the plugin's, and the builder drops what nothing
reads. It has been tried on networks that TensorRT-RTX parsed and on stand-ins; no GPU
has run it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.runtime.cuda.shuffle_unit import pack_parameters
from derain.runtime.tensorrt.aot_plugin import aot_adder, has_aot_plugins
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.library import Api
from derain.runtime.tensorrt.network_definition import shape_of
from derain.runtime.tensorrt.unit_plugin import PLUGIN, unit_adder

if TYPE_CHECKING:
    import tensorrt as trt

_FUNCTION = re.compile(r"ShuffleUnit\d+(?=_|$)")

# Adds the layer of one unit: network, x, parameters.
Adder = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class FoundUnit:
    """The layers of one unit in a network.

    Attributes:
        name: Of its function.
        convolutions: Squeezing, depth-wise, expanding.
        last: The layer whose result is the unit's.
    """

    name: str
    convolutions: tuple[Any, ...]
    last: Any


def check_fused_units(manifest: Manifest, backend: EngineBackend) -> None:
    """Raise unless a bundle's units can become plugins of `backend`.

    Raises:
        EngineError: It has no plugins, or the bundle no such nodes.
    """
    if backend == "tensorrt-rtx":
        raise EngineError(
            "tensorrt-rtx has no --fused-units: it takes no plugins; choose --backend "
            "tensorrt"
        )
    if not any(map(_FUNCTION.fullmatch, manifest.operators)):
        raise EngineError(
            "--fused-units: the bundle has no ShuffleUnit nodes; run: derain-export "
            f"--model {manifest.model} --fp16 --target tensorrt --fused-units"
        )


def find_units(api: Api, network: trt.INetworkDefinition) -> list[FoundUnit]:
    """The units in a network that the parser made.

    Raises:
        EngineError: The layers of one are not what its function says.
    """
    layers: dict[str, list[Any]] = {}
    for index in range(network.num_layers):
        layer: trt.ILayer = network.get_layer(index)
        if (match := _FUNCTION.match(layer.name)) is not None:
            layers.setdefault(match[0], []).append(layer)
    return [_unit(api, name, found) for name, found in layers.items()]


def fuse_units(
    api: Api, network: trt.INetworkDefinition, capability: str
) -> tuple[list[NDArray[np.float32]], str | None]:
    """Replace the units of a network by plugin layers, in place.

    Args:
        api: TensorRT.
        network: What its parser made.
        capability: Compute capability of the device to build for: "8.7".

    Returns:
        The parameters of each unit, to be kept until the engine is built, and the name
        of the plugin that must be registered where the engine is loaded, or None.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: NVRTC is missing, the kernel does not compile, or there is no unit
            that it could compute.
    """
    units = find_units(api, network)
    if not units:
        raise EngineError("--fused-units: no ShuffleUnit in the parsed network")
    ahead = has_aot_plugins(api)
    add = aot_adder(api, capability) if ahead else unit_adder(api, capability)
    kept = [_replace(api, network, unit, add) for unit in units]
    return kept, None if ahead else PLUGIN


def parameters_of(unit: FoundUnit) -> NDArray[np.float32]:
    """The unit's parameters as its kernel reads them, `(720,)` float32."""
    weights, biases = [], []
    for layer in unit.convolutions:
        conv: trt.IConvolutionLayer = layer
        kernel = np.asarray(conv.kernel)  # flat: the layer knows its shape
        size = conv.kernel_size_nd
        weights.append(kernel.reshape(conv.num_output_maps, -1, size[0], size[1]))
        biases.append(np.asarray(conv.bias))
    return pack_parameters(weights, biases)


def _unit(api: Api, name: str, layers: list[Any]) -> FoundUnit:
    convolutions = []
    for layer in layers:
        if layer.type == api.trt.LayerType.CONVOLUTION:
            # The bindings say ILayer, whatever it is.
            layer.__class__ = api.trt.IConvolutionLayer
            convolutions.append(layer)
    last = layers[-1]
    ends = last.type == api.trt.LayerType.ACTIVATION
    if (
        len(convolutions) != 3
        or not ends
        or any(c.num_inputs > 1 for c in convolutions)
    ):
        raise EngineError(
            f"--fused-units: {api.name} {api.version} made other layers of {name} than "
            "three convolutions of constant weights and a ReLU; compile it without"
        )
    return FoundUnit(name, tuple(convolutions), last)


def _replace(
    api: Api, network: trt.INetworkDefinition, unit: FoundUnit, add: Adder
) -> NDArray[np.float32]:
    """Put a plugin layer in the place of `unit`; returns its parameters."""
    # Asked now: the unit before may have been replaced.
    x: trt.ITensor = unit.convolutions[0].get_input(0)
    old: trt.ITensor = unit.last.get_output(0)
    if x.dtype != api.trt.DataType.HALF or len(shape_of(x)) != 4:
        raise EngineError(
            f"--fused-units: {unit.name} reads {x.dtype.name} {shape_of(x)}, its "
            "kernel FP16 maps; export the bundle with --fp16"
        )
    readers = _readers(network, old.name)
    if not readers:
        raise EngineError(f"--fused-units: no layer reads the result of {unit.name}")
    packed = parameters_of(unit)
    constant: trt.IConstantLayer = network.add_constant(
        api.trt.Dims([len(packed)]), api.trt.Weights(packed)
    )
    plugin: trt.ILayer = add(network, x, constant.get_output(0))
    plugin.name = f"{unit.name}_plugin"
    for layer, index in readers:
        layer.set_input(index, plugin.get_output(0))
    return packed


def _readers(
    network: trt.INetworkDefinition, name: str
) -> list[tuple[trt.ILayer, int]]:
    """Every layer that reads the tensor `name`, and through which input."""
    readers = []
    for index in range(network.num_layers):
        layer: trt.ILayer = network.get_layer(index)
        for k in range(layer.num_inputs):
            tensor: trt.ITensor | None = layer.get_input(k)
            if tensor is not None and tensor.name == name:
                readers.append((layer, k))
    return readers
