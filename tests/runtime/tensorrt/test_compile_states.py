"""Engines of bundles with states, by the real compiler, and what does not fit."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt import build
from derain.runtime.tensorrt.build_options import BuildOptions, BuildRequest
from derain.runtime.tensorrt.engine_bytes import measure_engine_bytes
from derain.runtime.tensorrt.engine_fit import read_plan
from derain.runtime.tensorrt.engine_record import EngineRecord
from derain.runtime.tensorrt.engine_states import state_ranges
from support.commands import content, one_line_error
from support.tensorrt_builder import FAKE
from support.tensorrt_stand_in import BOTH

STATIC, DYNAMIC = "64x48", "32x32,64x48,128x96"

# Builds an engine as the child process does, and says what its builder's log says.
_TENSORS = """
import json, logging, sys
from derain.runtime.tensorrt.build import build
from derain.runtime.tensorrt.build_options import BuildRequest
from derain.runtime.tensorrt.library import open_api
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(message)s")
request = BuildRequest.from_json(json.loads(sys.argv[1]))
build(open_api(request.backend), request, None, lambda part, phase: None)
"""
_TENSOR = re.compile(
    r"Name: (\w+), IOMode: (\w+), DataType: (\w+), Dimensions: \[([\d,-]*)\]"
)


def request_for(bundle, sizes=None):
    manifest = bundle.manifest
    sizes = sizes or manifest.sizes
    return BuildRequest(
        backend="tensorrt-rtx",
        model=bundle.model_path,
        precision=manifest.precision,
        sizes=sizes,
        options=BuildOptions(compute_capabilities=("8.6",)),
        states=state_ranges(manifest, sizes),
    )


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sizes", [STATIC, DYNAMIC], ids=["static", "one of a range"])
def test_the_states_are_plain_inputs_and_outputs_of_the_engine(
    make_bundle_with_states, precision, sizes
):
    bundle = Bundle.open(make_bundle_with_states(sizes, precision))
    request = json.dumps(request_for(bundle, SizeRange.parse(STATIC)).to_json())
    result = subprocess.run(
        [sys.executable, "-c", _TENSORS, request],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = {name: rest for name, *rest in _TENSOR.findall(result.stdout)}
    number = {"fp32": "Float", "fp16": "Half"}[precision]
    frame = ["UInt8", "1,48,64,3"]
    wanted = {"frame": ["Input", *frame], "derained": ["Output", *frame]}
    for side, mode in (("in", "Input"), ("out", "Output")):
        wanted[f"state_0_{side}"] = [mode, number, "1,8,24,32"]
        wanted[f"state_1_{side}"] = wanted[f"state_2_{side}"] = [mode, *frame]
    assert found == wanted | {"health": ["Output", "Float", ""]}


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sizes", [STATIC, DYNAMIC], ids=["static", "dynamic"])
def test_the_record_says_the_states(
    make_bundle_with_states, compile_command, device, precision, sizes
):
    folder = make_bundle_with_states(sizes, precision)
    result = compile_command(folder, "--json")
    assert result.returncode == 0, result.stderr
    bundle = Bundle.open(folder)
    engine = json.loads(result.stdout)["engine"]
    assert engine["states"] == [state.to_json() for state in bundle.manifest.states]
    here = replace(device, compute_capability="8.6")
    record, _ = read_plan(bundle, "tensorrt-rtx", engine["version"], here)
    assert record.states == bundle.manifest.states
    assert str(record.sizes) == sizes


@pytest.mark.usefixtures("rtx")
def test_bytes_of_the_states_are_in_the_sum(make_bundle_with_states):
    bundle = Bundle.open(make_bundle_with_states(precision="fp16"))
    size = Size(64, 48)
    ranges = state_ranges(bundle.manifest, SizeRange.static(size))
    found = measure_engine_bytes(bundle.model_path, "fp16", size, states=ranges)
    state, frame = 2 * 8 * 24 * 32, 3 * 48 * 64
    # Of each frame and each state that goes in, and of each that comes out.
    assert found.moved_bytes >= 2 * state + 6 * frame


def _drop(*names):
    def change(nodes, inputs, outputs):
        for name in names:
            for table in (nodes, inputs, outputs):
                table.pop(name, None)

    return change


def _fewer(nodes, inputs, outputs):
    from onnx import helper

    _drop("last", "state_2")(nodes, inputs, outputs)
    nodes["shift"] = helper.make_node("Identity", ["frame"], ["state_1_out"])


def _shrink(nodes, inputs, outputs):
    from onnx import helper

    for axis in outputs["state_0"].type.tensor_type.shape.dim[2:]:
        axis.dim_value //= 2
    nodes["relu"] = helper.make_node(
        "MaxPool", ["s"], ["state_0_out"], kernel_shape=[2, 2], strides=[2, 2]
    )
    nodes["up"] = helper.make_node("ConvTranspose", ["s", "up"], ["u"], strides=[2, 2])


def _rename(nodes, inputs, outputs):
    outputs["state_2"].name = "state_9_out"
    nodes["last"].output[0] = "state_9_out"


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            _fewer,
            "has states state_0, state_1, its manifest states state_0, state_1, state_2"
            ": the engine would be compiled with states state_0, state_1; export the",
        ),
        (
            _shrink,
            r"a state keeps its shape and type, got state_0_in FLOAT \(1, 8, 24, ",
        ),
        (_rename, r"state_9_out UINT8 .*, wanted one input and one output"),
        (_drop("health", "zeros", "numbers"), "wanted the output health where states"),
    ],
    ids=["too few", "another shape", "no pair", "no health"],
)
def test_a_graph_whose_states_make_no_sense(
    make_bundle_with_states, compile_command, change, why
):
    folder = make_bundle_with_states(change=change)
    before = content(folder)
    one_line_error(compile_command(folder), why)
    assert content(folder) == before


@pytest.mark.usefixtures("rtx")
def test_a_graph_without_the_states_of_its_manifest(
    make_bundle, make_bundle_with_states, compile_command, set_model
):
    folder = make_bundle_with_states()
    set_model(folder, (make_bundle() / "model.onnx").read_bytes())
    one_line_error(
        compile_command(folder),
        "has no states, its manifest states state_0, state_1, state_2: the engine "
        "would be compiled without states; export the bundle again",
    )


@pytest.mark.usefixtures("rtx")
def test_a_manifest_without_the_states_of_its_graph(
    make_bundle_with_states, compile_command
):
    one_line_error(
        compile_command(make_bundle_with_states(states=())),
        "has states state_0, state_1, state_2, its manifest no states",
    )


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shape": (1, 8, "height", "width")}, r"float32 \(1, 8, 48, 64\)"),
        ({"dtype": "float16"}, r"float16 \(1, 8, 24, 32\)"),
    ],
    ids=["shape", "type"],
)
def test_a_manifest_that_says_something_else(
    make_bundle_with_states, compile_command, changes, says
):
    folder = make_bundle_with_states()
    manifest = Bundle.open(folder).manifest
    first, *rest = manifest.states
    replace(manifest, states=(replace(first, **changes), *rest)).write(folder)
    got = r"got state_0_in FLOAT \(1, 8, 24, 32\), its manifest says"
    one_line_error(compile_command(folder), f"{got} {says}; export the bundle again")


def test_a_record_survives_its_way_through_the_manifest(make_record):
    record = make_record(states=BOTH)
    there = json.loads(json.dumps(record.to_json()))
    assert EngineRecord.from_json(there) == record
    assert "states" not in make_record().to_json()
    del there["states"]
    assert EngineRecord.from_json(there).states == ()
    there["states"] = [{"name": "state_0"}]
    with pytest.raises(ValueError, match="engine record: 'shape'"):
        EngineRecord.from_json(there)


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ((), "was compiled without states, the bundle is one with states state_0 ui"),
        (BOTH[:1], r"with states state_0 uint8 1xframe_heightxframe_widthx3, the bun"),
    ],
    ids=["none", "others"],
)
def test_an_engine_of_other_states_is_refused(compiled, device, states, why):
    bundle = Bundle.open(compiled(BOTH))
    read_plan(bundle, "tensorrt", "10.3.0", device)
    (fields,) = bundle.manifest.engines
    fields["states"] = [state.to_json() for state in states]
    with pytest.raises(EngineError, match=f"{why}.*; run: derain-compile"):
        read_plan(bundle, "tensorrt", "10.3.0", device)


def test_a_request_with_states_survives_its_way(make_bundle_with_states):
    bundle = Bundle.open(make_bundle_with_states(DYNAMIC))
    request = request_for(bundle)
    there = json.loads(json.dumps(request.to_json()))
    assert BuildRequest.from_json(there) == request
    assert request.states[0].shapes == ((1, 8, 16, 16), (1, 8, 24, 32), (1, 8, 48, 64))
    assert request.states[1].shapes[2] == (1, 96, 128, 3)


def test_a_length_that_does_not_come_out_whole(make_bundle_with_states):
    bundle = Bundle.open(make_bundle_with_states(DYNAMIC))
    with pytest.raises(EngineError, match="frames of 33x32: state_0: width/2 of 33x32"):
        state_ranges(bundle.manifest, SizeRange.parse("33x32"))


@pytest.mark.parametrize(
    ("sizes", "shapes", "profile"),
    [
        (DYNAMIC, (1, 8, -1, -1), [(1, 8, 16, 16), (1, 8, 24, 32), (1, 8, 48, 64)]),
        (STATIC, (1, 8, 24, 32), None),
    ],
    ids=["a range", "one size of it"],
)
def test_sizes_of_states_follow_those_of_frames(
    make_bundle_with_states, sizes, shapes, profile
):
    bundle = Bundle.open(make_bundle_with_states(DYNAMIC))
    tensors = [
        SimpleNamespace(name="state_0_in", shape=(1, 8, -1, -1)),
        SimpleNamespace(name="frame", shape=(1, -1, -1, 3)),
    ]
    given, profiles = {}, []
    network = SimpleNamespace(num_inputs=2, get_input=tensors.__getitem__)
    one = SimpleNamespace(set_shape=lambda name, *all_: given.update({name: all_}))
    builder = SimpleNamespace(create_optimization_profile=lambda: one)
    config = SimpleNamespace(add_optimization_profile=profiles.append)
    request = request_for(bundle, SizeRange.parse(sizes))
    api = SimpleNamespace(trt=FAKE)
    build._set_shapes(api, builder, config, network, request)
    assert tensors[0].shape == shapes
    assert given.get("state_0_in") == (profile and tuple(profile))
    assert len(profiles) == (profile is not None)
