"""The plugin of TensorRT 10.3 and the one of 10.9, on stand-ins of their modules."""

import sys
import types
from pathlib import Path

import pytest

from derain.core.errors import EngineError
from derain.runtime.cuda import shuffle_unit as unit
from derain.runtime.cuda.shuffle_unit import grid
from derain.runtime.tensorrt import aot_plugin, open_engine, unit_plugin
from derain.runtime.tensorrt.library import Api, Messages
from derain.runtime.tensorrt.unit_plugin import PLUGIN, register_plugin
from support.recording_cuda import RecordingDevice
from support.tensorrt_builder import plugin_names
from support.tensorrt_stand_in import Library

LISTS = sorted((Path(__file__).parent / "api").glob("*.txt"))


class Started:
    """Notes how a kernel is started."""

    def __init__(self, compiled):
        self.compiled, self.calls = compiled, []
        made.append(self)

    def launch(self, *call):
        self.calls.append(call)


made = []


@pytest.fixture
def api(monkeypatch):
    made.clear()
    monkeypatch.setattr(unit_plugin, "_creators", {})
    monkeypatch.setattr(
        unit_plugin, "compile_kernel", lambda source, name, capability: capability
    )
    monkeypatch.setattr(unit_plugin, "LoadedKernel", Started)
    trt = types.SimpleNamespace(**plugin_names())
    return Api("tensorrt", trt, "10.3.0", None, Messages())


def plugin_of(api):
    creator = register_plugin(api, PLUGIN, "8.7")
    return creator.create_plugin(unit.NAME, [], "RUNTIME")


def test_the_plugin_takes_maps_in_eights_and_parameters_alone(api):
    plugin, types_ = plugin_of(api), api.trt.DataType

    def taken(pos, kind, layout):
        desc = types.SimpleNamespace(type=getattr(types_, kind), format=layout)
        in_out = [None] * pos + [types.SimpleNamespace(desc=desc)]
        return plugin.supports_format_combination(pos, in_out, 2)

    everything = [(k, f) for k in ("HALF", "FLOAT") for f in ("HWC8", "LINEAR")]
    got = [[pair for pair in everything if taken(pos, *pair)] for pos in range(3)]
    assert got == [[("HALF", "HWC8")], [("FLOAT", "LINEAR")], [("HALF", "HWC8")]]
    assert plugin.get_output_data_types(["half", "float"]) == ["half"]
    assert plugin.get_output_shapes([[1, 32, 9, 7], [720]], [], None) == [[1, 32, 9, 7]]


def test_it_starts_the_kernel_as_the_source_wants_it(api):
    plugin = plugin_of(api)
    assert made == []  # there may be no CUDA context yet
    desc = types.SimpleNamespace(dims=(2, 32, 37, 45))
    for _ in range(2):
        context = plugin.attach_to_context(None)
        context.enqueue([desc, None], [desc], [10, 20], [30], 0, 5)
    (kernel,) = made  # loaded once
    assert kernel.compiled == "8.7"
    call = (grid(2, 37, 45), unit.defined("THREADS"), 5, [10, 20], (37, 45), [30])
    assert kernel.calls == [call, call]


@pytest.mark.parametrize("listing", LISTS, ids=[path.stem for path in LISTS])
def test_its_methods_are_those_of_tensorrt(api, listing):
    known = set()
    for line in listing.read_text().splitlines():
        head, *names = line.split()
        if head in ("IPluginV3", *(f"IPluginV3One{k}" for k in _KINDS)):
            known |= set(names)
    plugin = type(plugin_of(api))
    assert {name for name in vars(plugin) if not name.startswith("_")} <= known
    # What TensorRT asks of every plugin; its base classes raise.
    assert {"clone", "enqueue", "get_output_shapes", "attach_to_context"} <= known


_KINDS = ("Core", "Build", "Runtime")


def test_it_is_registered_once_in_a_process(api):
    first = register_plugin(api, PLUGIN, "8.7")
    assert register_plugin(api, PLUGIN, "9.0") is first
    registry = api.trt.get_plugin_registry()
    assert registry.creators == [("derain", first)]
    first.create_plugin(unit.NAME, [], None).kernel.start((1, 32, 1, 1), [], [], 0)
    assert made[-1].compiled == "9.0"  # of the device that was asked for last


def test_what_cannot_be_registered_is_one_line(api):
    with pytest.raises(EngineError, match=r"^the engine needs the plugin other, .*$"):
        register_plugin(api, "other", "8.7")
    api.trt.get_plugin_registry().takes = False
    with pytest.raises(
        EngineError, match=r"^tensorrt 10.3.0 does not take plugin derain::shuffle_unit"
    ):
        register_plugin(api, PLUGIN, "8.7")


@pytest.mark.parametrize("plugin", [None, PLUGIN])
def test_an_engine_is_loaded_after_its_plugin(plugin, make_record, monkeypatch):
    device = RecordingDevice()
    library, order = Library(device), []
    runtime = library.trt.Runtime
    library.trt.Runtime = lambda logger: (order.append("runtime"), runtime(logger))[1]
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: library)
    monkeypatch.setattr(
        open_engine, "read_plan", lambda *a: (make_record(plugin=plugin), b"plan")
    )

    def register(*call):
        assert call == (library, PLUGIN, device.facts.compute_capability)
        order.append("plugin")

    monkeypatch.setattr(open_engine, "register_plugin", register)
    sizes = make_record().sizes
    manifest = types.SimpleNamespace(sizes=sizes, padded=lambda size: size)
    bundle = types.SimpleNamespace(manifest=manifest)
    open_engine.open_tensorrt(bundle).close()
    assert order == ["plugin", "runtime"][plugin is None :]


class Expression:
    """A length that is known when the engine runs."""

    def __init__(self, value):
        self.value = value


def plugins_module():
    """What the module tensorrt.plugin has, as far as it is used."""
    known = {}

    def decorator(kind):
        return lambda name: lambda function: known.__setitem__(kind, (name, function))

    class Launch:
        def __init__(self, grid_x=1, grid_y=1, grid_z=1, block_x=1):
            self.grid = grid_x, grid_y, grid_z
            self.block_x = block_x

    module = types.SimpleNamespace(
        known=known,
        TensorDesc=type("TensorDesc", (), {}),
        KernelLaunchParams=Launch,
        SymIntExprs=lambda count: [None] * count,
        SymInt32=lambda expression: expression.value,
        AutoTuneCombination=lambda *formats: formats,
        cdiv=lambda a, b: -(-a.value // b),
        op=types.SimpleNamespace(),
    )
    for kind in ("register", "autotune", "aot_impl"):
        setattr(module, kind, decorator(kind))
    made_by = types.SimpleNamespace(shuffle_unit=lambda *inputs: inputs)
    module.op.derain = made_by
    return module


def test_the_newer_plugin_starts_the_kernel_as_the_source_wants_it(monkeypatch):
    module = plugins_module()
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", module)
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace())
    monkeypatch.setattr(aot_plugin, "compile_ptx", lambda source, capability: b"ptx")
    api = Api("tensorrt", None, "10.9.0", None, Messages())
    add = aot_plugin.aot_adder(api, "8.7")
    network = types.SimpleNamespace(add_plugin=lambda made, aot: (made, aot))
    assert add(network, "x", "parameters") == (("x", "parameters"), True)
    assert {name for name, _ in module.known.values()} == {PLUGIN}
    shape = [Expression(length) for length in (2, 32, 37, 45)]
    maps = types.SimpleNamespace(shape_expr=shape, like=lambda: "like maps")
    assert module.known["register"][1](maps, None) == "like maps"
    formats = module.known["autotune"][1](maps, None, None)
    assert formats == [("FP16, FP32, FP16", "HWC8, LINEAR, HWC8")]
    name, ptx, launch, extra = module.known["aot_impl"][1](maps, None, None, 0)
    assert (name, ptx, extra) == (unit.NAME, b"ptx", [37, 45])
    *blocks, pictures = launch.grid
    assert (*blocks, pictures.value) == grid(2, 37, 45)
    assert launch.block_x == unit.defined("THREADS")
    # TensorRT refuses annotations that are texts.
    described = module.known["register"][1].__annotations__
    assert set(described.values()) == {module.TensorDesc}
