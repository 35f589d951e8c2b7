"""Names of TensorRT's builder, of modules that are not here.

What names the real ones have is checked in tests/runtime/tensorrt/test_api.py.
"""

import enum
import types

from derain.runtime.tensorrt.library import Api, Messages


class Flag(enum.IntEnum):
    STRONGLY_TYPED = 1


class Level(enum.Enum):
    AMPERE_PLUS = 1


FAKE = types.SimpleNamespace(
    NetworkDefinitionCreationFlag=Flag,
    HardwareCompatibilityLevel=Level,
    BuilderFlag=types.SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
    TilingOptimizationLevel=types.SimpleNamespace(FULL="FULL"),
    MemoryPoolType=types.SimpleNamespace(WORKSPACE="the workspace"),
    ProfilingVerbosity=types.SimpleNamespace(DETAILED="DETAILED"),
    Dims=tuple,
)
BUILDER = types.SimpleNamespace(create_network=lambda flags: flags)

CLASSIC = Api("tensorrt", None, "10.3.0", None, Messages())
RTX = Api("tensorrt-rtx", None, "1.7.1.116", None, Messages())


class Tensor:
    """A tensor of a `ParsedNetwork`."""

    def __init__(self, name, dtype="HALF", content=None):
        self.name, self.dtype = name, FAKE_TYPES[dtype]
        self.shape, self.content = (1, 32, 48, 64), content


FAKE_TYPES = {
    name: types.SimpleNamespace(name=name) for name in ("HALF", "FLOAT", "UINT8")
}


class AnyLayer:
    """What the bindings say of a layer until its class is set."""

    def __init__(self, network, name, kind, inputs, numbers=(), plugin=None):
        self.name, self.type, self.inputs = name, kind, list(inputs)
        self.plugin, self._numbers = plugin, numbers
        dtype = inputs[0].dtype.name if inputs else "FLOAT"
        self._output = Tensor(f"{name}_output", dtype)

    @property
    def num_inputs(self):
        return len(self.inputs)

    def get_input(self, index):
        return self.inputs[index]

    def set_input(self, index, tensor):
        self.inputs[index] = tensor

    def get_output(self, index):
        assert index == 0
        return self._output


class ConvolutionLayer(AnyLayer):
    """A convolution; weights are flat, as those of the bindings."""

    @property
    def kernel(self):
        return self._numbers[0].reshape(-1)

    @property
    def bias(self):
        return self._numbers[1]

    @property
    def num_output_maps(self):
        return len(self._numbers[0])

    @property
    def kernel_size_nd(self):
        return self._numbers[0].shape[2:]


class ParsedNetwork:
    """A network definition as far as surgery on it needs one."""

    def __init__(self):
        self.layers = []

    def tensor(self, name, dtype="HALF"):
        return Tensor(name, dtype)

    def layer(self, name, kind, *inputs, numbers=()):
        self.layers.append(AnyLayer(self, name, kind, inputs, numbers))
        return self.layers[-1].get_output(0)

    @property
    def num_layers(self):
        return len(self.layers)

    def get_layer(self, index):
        return self.layers[index]

    def named(self, name):
        (found,) = (layer for layer in self.layers if layer.name == name)
        return found

    def add_constant(self, shape, weights):
        assert shape == (len(weights),)
        layer = AnyLayer(self, f"constant_{len(self.layers)}", "CONSTANT", [])
        layer.get_output(0).content = weights
        self.layers.append(layer)
        return layer

    def add_plugin_v3(self, inputs, shape_inputs, plugin):
        assert shape_inputs == []
        name = f"plugin_{len(self.layers)}"
        self.layers.append(AnyLayer(self, name, "PLUGIN_V3", inputs, plugin=plugin))
        return self.layers[-1]

    def alive(self, names):
        """Names of the layers that those of `names` depend on: the rest is dropped."""
        made = {layer.get_output(0).name: layer for layer in self.layers}
        alive, open_ = set(), [self.named(name) for name in names]
        while open_:
            layer = open_.pop()
            alive.add(layer.name)
            open_ += [made[t.name] for t in layer.inputs if t.name in made]
        return alive


class Registry:
    """TensorRT's plugin registry."""

    def __init__(self):
        self.creators, self.takes = [], True

    def register_creator(self, creator, namespace):
        self.creators.append((namespace, creator))
        return self.takes


def plugin_names():
    """Names of the module that plugins and surgery need."""
    registry = Registry()
    kinds = ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild")
    kinds += ("IPluginV3OneRuntime", "IPluginCreatorV3One")
    return {
        **{name: type(name, (), {}) for name in kinds},
        "DataType": types.SimpleNamespace(**FAKE_TYPES),
        "LayerType": types.SimpleNamespace(
            CONVOLUTION="CONVOLUTION", ACTIVATION="ACTIVATION"
        ),
        "TensorFormat": types.SimpleNamespace(HWC8="HWC8", LINEAR="LINEAR"),
        "TensorRTPhase": types.SimpleNamespace(BUILD="BUILD"),
        "IConvolutionLayer": ConvolutionLayer,
        "PluginFieldCollection": list,
        "DimsExprs": list,
        "Weights": lambda array: array,
        "get_plugin_registry": lambda: registry,
    }
