"""Units found in networks and replaced: stand-ins, and one that was really parsed."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from click.testing import CliRunner

from derain.core.errors import ConfigError, EngineError
from derain.core.sizes import SizeRange
from derain.runtime.cuda.shuffle_unit import pack_parameters
from derain.runtime.tensorrt import aot_plugin, build, fused_units, unit_plugin
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.compile_cli import main
from derain.runtime.tensorrt.compile_options import CompileOptions
from derain.runtime.tensorrt.fused_units import check_fused_units, find_units
from derain.runtime.tensorrt.library import Api, Messages
from support.tensorrt_builder import FAKE, ParsedNetwork, plugin_names

SHAPES = [(16, 16, 1, 1), (16, 1, 3, 3), (32, 8, 1, 1)]


def numbers(seed):
    """Weights and biases of a unit, in FP16."""
    random = np.random.default_rng(seed)
    weights = [random.normal(0, 1, shape).astype(np.float16) for shape in SHAPES]
    return weights, [random.normal(0, 1, len(w)).astype(np.float16) for w in weights]


def network_of(units=2, **changes):
    """What a parser makes of a stem, some units and a last layer."""
    network = ParsedNetwork()
    x = network.layer("stem", "CONVOLUTION", network.tensor("frame", **changes))
    for k in range(units):
        name, (weights, biases) = f"ShuffleUnit{k}", numbers(k)
        y = x
        for index, kind in enumerate(("CONVOLUTION", "ACTIVATION")):
            numbers_ = (weights[0], biases[0]) if kind == "CONVOLUTION" else ()
            y = network.layer(f"{name}_{index}", kind, y, numbers=numbers_)
        y = network.layer(f"{name}_3", "GATHER", y)
        for index in (1, 2):
            of = weights[index], biases[index]
            y = network.layer(f"{name}_{index + 3}", "CONVOLUTION", y, numbers=of)
        y = network.layer(f"{name}_6", "ELEMENTWISE", y, x)
        x = network.layer(f"{name}_7", "ACTIVATION", y)
    network.layer("head", "CONVOLUTION", x)
    network.layer("side", "ELEMENTWISE", x, x)
    return network


@pytest.fixture
def api(monkeypatch):
    """TensorRT 10.3, whose plugins are objects; NVRTC compiles everything."""
    monkeypatch.setattr(unit_plugin, "_creators", {})
    monkeypatch.setattr(unit_plugin, "compile_kernel", lambda *a: a)
    trt = types.SimpleNamespace(**vars(FAKE), **plugin_names())
    return Api("tensorrt", trt, "10.3.0", None, Messages())


def test_each_unit_becomes_one_plugin(api):
    network = network_of()
    kept, plugin = fused_units.fuse_units(api, network, "8.7")
    assert plugin == "derain::shuffle_unit"
    for k, packed in enumerate(kept):
        np.testing.assert_array_equal(packed, pack_parameters(*numbers(k)))
    first, second = (network.named(f"ShuffleUnit{k}_plugin") for k in range(2))
    # The second reads the first, not the layers that it stands for.
    assert first.inputs[0].name == "stem_output"
    assert second.inputs[0] is first.get_output(0)
    assert [layer.inputs[1].content for layer in (first, second)] == [
        pytest.approx(packed) for packed in kept
    ]
    result = second.get_output(0)
    assert network.named("head").inputs == [result]
    assert network.named("side").inputs == [result, result]
    alive = network.alive(["head", "side"])
    assert not [n for n in alive if "ShuffleUnit" in n and "plugin" not in n]


def test_what_is_no_unit_is_left_alone(api):
    network = network_of(0)
    before = [(layer.name, list(layer.inputs)) for layer in network.layers]
    with pytest.raises(EngineError, match="no ShuffleUnit in the parsed network"):
        fused_units.fuse_units(api, network, "8.7")
    assert before == [(layer.name, list(layer.inputs)) for layer in network.layers]


def test_maps_in_fp32_are_refused(api):
    network = network_of(dtype="FLOAT")
    with pytest.raises(EngineError, match=r"ShuffleUnit0 reads FLOAT .*--fp16$"):
        fused_units.fuse_units(api, network, "8.7")


def test_other_layers_than_the_functions_are_refused(api):
    network = network_of()
    network.named("ShuffleUnit1_4").inputs.append(network.tensor("weights"))
    with pytest.raises(EngineError, match=r"made other layers of ShuffleUnit1 .*with"):
        fused_units.fuse_units(api, network, "8.7")


def test_a_result_that_nobody_reads_is_refused(api):
    network = network_of(1)
    network.layers = network.layers[:-2]
    with pytest.raises(EngineError, match="no layer reads the result of ShuffleUnit0"):
        fused_units.fuse_units(api, network, "8.7")


def test_a_newer_tensorrt_gets_the_kernel_in_its_plan(api, monkeypatch):
    asked, network = [], network_of(1)

    def adder(api, capability):
        asked.append(capability)
        return lambda network, *inputs: network.add_plugin_v3(inputs, [], "ahead")

    api.trt.QuickPluginCreationRequest = object()
    monkeypatch.setattr(fused_units, "aot_adder", adder)
    assert aot_plugin.has_aot_plugins(api)
    _, plugin = fused_units.fuse_units(api, network, "8.7")
    assert plugin is None
    assert asked == ["8.7"]
    assert network.named("ShuffleUnit0_plugin").plugin == "ahead"


def test_a_build_fuses_and_its_facts_say_so(api, monkeypatch, tmp_path, device):
    seen = []
    network = network_of()
    config = types.SimpleNamespace()

    def build_network(network, config):
        seen.extend(layer.name for layer in network.layers)
        return b"plan"

    builder = types.SimpleNamespace(build_serialized_network=build_network)
    monkeypatch.setattr(build, "new_builder", lambda api: builder)
    monkeypatch.setattr(build, "parse", lambda *a: (network, []))
    for name in ("check_contract", "_set_shapes", "_use_timing_cache"):
        monkeypatch.setattr(build, name, lambda *a: None)
    monkeypatch.setattr(build, "progress_monitor", lambda *a: None)
    monkeypatch.setattr(build, "arithmetic_types", lambda *a: {"fp16": 7})
    monkeypatch.setattr(build, "_configure", lambda *a: (config, {}))

    def facts(**options):
        request = BuildRequest(
            backend="tensorrt",
            model=tmp_path,
            precision="fp16",
            sizes=SizeRange.parse("64x48"),
            options=BuildOptions(**options),
        )
        request = BuildRequest.from_json(request.to_json())  # as the child gets it
        _, facts = build.build(api, request, device, lambda *a: None)
        return BuildFacts.from_json(facts.to_json())

    plain = facts()
    assert (plain.plugin, plain.settings) == (None, {})
    assert "ShuffleUnit1_plugin" not in seen
    fused = facts(fused_units=True)
    assert fused.plugin == "derain::shuffle_unit"
    assert fused.settings == {"fused_units": 2}
    assert "ShuffleUnit1_plugin" in seen


def test_a_record_without_a_plugin_is_as_it_was(make_record):
    assert "plugin" not in make_record().to_json()
    record = make_record(plugin="derain::shuffle_unit")
    assert type(record).from_json(record.to_json()) == record


def test_bundles_and_libraries_that_have_no_units_are_refused():
    manifest = types.SimpleNamespace(model="qsnet", operators={"ShuffleUnit0": "x"})
    check_fused_units(manifest, "tensorrt")
    with pytest.raises(EngineError, match=r"^tensorrt-rtx has no --fused-units: .*$"):
        check_fused_units(manifest, "tensorrt-rtx")
    manifest.operators = {"MaxPoolWithIndices": "x"}
    with pytest.raises(
        EngineError, match=r"^.* no ShuffleUnit nodes; run: derain-export .*$"
    ):
        check_fused_units(manifest, "tensorrt")


def test_the_command_refuses_in_one_line(make_bundle):
    bundle = str(make_bundle())
    for backend, says in (
        ("tensorrt", "the bundle has no ShuffleUnit nodes"),
        ("tensorrt-rtx", "tensorrt-rtx has no --fused-units"),
    ):
        command = [bundle, "--fused-units", "--backend", backend]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert says in line


@pytest.mark.parametrize("other", ["hardware_compatible", "version_compatible"])
def test_an_engine_for_other_machines_has_no_fused_units(other):
    with pytest.raises(ConfigError, match=r"^--fused-units goes with neither .*$"):
        CompileOptions(fused_units=True, **{other: True}).check()


PARSE = """
import pickle, sys
from pathlib import Path
from derain.runtime.tensorrt.fused_units import find_units, parameters_of
from derain.runtime.tensorrt.library import open_api
from derain.runtime.tensorrt.network_definition import new_builder, parse
api = open_api("tensorrt-rtx")
builder = new_builder(api)
network, refused = parse(api, builder, Path(sys.argv[1]))
units = find_units(api, network)
found = [
    (u.name, u.convolutions[0].get_input(0).name, u.last.get_output(0).name,
     parameters_of(u)) for u in units
]
Path(sys.argv[2]).write_bytes(pickle.dumps((found, api.messages.warnings, refused)))
"""


@pytest.mark.usefixtures("rtx")
def test_units_are_found_in_a_network_that_tensorrt_rtx_parsed(tmp_path):
    pytest.importorskip("torch", reason="the graph is made with derain[export]")
    import onnx_ir as ir
    import torch
    from torch import nn

    from derain.export.fp16 import to_fp16
    from derain.export.map_sizes import MapSizes
    from derain.export.operators.lowering import lower_operators
    from derain.export.passes import optimize
    from derain.models.networks.qsnet import ShuffleUnit
    from support.graphs import Wrapped, graph_of, lively

    torch.manual_seed(0)
    units = [lively(ShuffleUnit(32, 2)) for _ in range(2)]
    model = graph_of(Wrapped(nn.Sequential(*units), 32))
    optimize(model, "tensorrt", asked={"fuse_shuffle_units"})
    to_fp16(model, set())
    wanted = [
        pack_parameters(
            [node.inputs[k].const_value.numpy() for k in (1, 3, 5)],
            [node.inputs[k].const_value.numpy() for k in (2, 4, 6)],
        )
        for node in model.graph
        if node.op_type == "ShuffleUnit"
    ]
    assert len(wanted) == 2
    lower_operators(model, "tensorrt", MapSizes({}))
    ir.save(model, tmp_path / "model.onnx")
    command = [sys.executable, "-c", PARSE, tmp_path / "model.onnx", tmp_path / "found"]
    subprocess.run(command, check=True, timeout=300)
    found, warnings, refused = pickle.loads((tmp_path / "found").read_bytes())
    assert (warnings, refused) == ([], [])  # names that come twice are warned of
    assert [name for name, *_ in found] == ["ShuffleUnit0", "ShuffleUnit1"]
    assert found[1][1] == found[0][2]  # the second reads what the first makes
    for (*_, packed), right in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(packed, right)


def test_finding_changes_nothing(api):
    network = network_of()
    before = [(layer.name, list(layer.inputs)) for layer in network.layers]
    assert [unit.name for unit in find_units(api, network)] == [
        "ShuffleUnit0",
        "ShuffleUnit1",
    ]
    assert before == [(layer.name, list(layer.inputs)) for layer in network.layers]
