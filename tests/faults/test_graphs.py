"""Bundles whose hashes are right and whose graphs are not."""

import multiprocessing
import signal
import time

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs need derain[export]")
from onnx import TensorProto, helper  # noqa: E402

from support.batched_model import add_batch  # noqa: E402
from support.bundles import write_bundle  # noqa: E402
from support.faults import Fault  # noqa: E402

FRAME = np.full((48, 64, 3), 90, np.uint8)


class _Bytes:
    """What is written in place of a model."""

    def __init__(self, content):
        self.content = content

    def SerializeToString(self):  # noqa: N802 - as protobuf calls it
        return self.content


def _value(name, kind=TensorProto.UINT8, shape=(1, 48, 64, 3)):
    return helper.make_tensor_value_info(name, kind, list(shape))


def _graph(nodes, inputs, outputs, constants=(), opset=20):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )


def _identity(inputs, outputs, opset=20):
    node = helper.make_node("Identity", ["frame"], ["derained"])
    return _graph([node], inputs, outputs, opset=opset)


def _constant(name, kind, values):
    return helper.make_tensor(name, kind, [len(values)], values)


def _without_inputs():
    value = helper.make_tensor(
        "v", TensorProto.UINT8, [1, 48, 64, 3], FRAME.tobytes(), raw=True
    )
    node = helper.make_node("Constant", [], ["derained"], value=value)
    return _graph([node], [], [_value("derained")])


GOOD = ([_value("frame")], [_value("derained")])
FLOAT = TensorProto.FLOAT
GRAPHS = {
    "no-bytes": lambda: _Bytes(b""),
    "no-protobuf": lambda: _Bytes(b"this is no model at all\n" * 40),
    "zeros": lambda: _Bytes(bytes(5000)),
    "half": lambda: _Bytes(_identity(*GOOD).SerializeToString()[:60]),
    "no-graph": lambda: _Bytes(onnx.ModelProto(ir_version=10).SerializeToString()),
    "no-inputs": _without_inputs,
    "no-outputs": lambda: _identity([_value("frame")], []),
    "no-nodes": lambda: _graph([], *GOOD),
    "two-inputs": lambda: _identity([_value("frame"), _value("more")], GOOD[1]),
    "other-names": lambda: _graph(
        [helper.make_node("Identity", ["a"], ["b"])], [_value("a")], [_value("b")]
    ),
    "planes": lambda: _identity(
        [_value("frame", shape=(1, 3, 48, 64))],
        [_value("derained", shape=(1, 3, 48, 64))],
    ),
    "float": lambda: _identity([_value("frame", FLOAT)], [_value("derained", FLOAT)]),
    "one-axis": lambda: _identity(
        [_value("frame", shape=(9216,))], [_value("derained", shape=(9216,))]
    ),
    "other-size": lambda: _identity(
        [_value("frame", shape=(1, 8, 8, 3))], [_value("derained", shape=(1, 8, 8, 3))]
    ),
    "four-channels": lambda: _identity(
        [_value("frame", shape=(1, 48, 64, 4))],
        [_value("derained", shape=(1, 48, 64, 4))],
    ),
    "unknown-operator": lambda: _graph(
        [helper.make_node("Frobnicate", ["frame"], ["derained"])], *GOOD
    ),
    "unknown-domain": lambda: _graph(
        [helper.make_node("Identity", ["frame"], ["derained"], domain="moon")], *GOOD
    ),
    "future-opset": lambda: _identity(*GOOD, opset=999),
    "other-output-size": lambda: _graph(
        [
            helper.make_node("Slice", ["frame", "a", "b", "c"], ["derained"]),
        ],
        [_value("frame")],
        [_value("derained", shape=(1, 24, 64, 3))],
        [
            _constant("a", TensorProto.INT64, [0]),
            _constant("b", TensorProto.INT64, [24]),
            _constant("c", TensorProto.INT64, [1]),
        ],
    ),
}
COMMANDS = {
    "run": ("derain-run", "g", "--source", "in.png", "--sink", "o.png"),
    "calibrate": ("derain-calibrate", "g", "--source", "frames", "-o", "c.json"),
    "eval": ("derain-eval", "--bundle", "g", "--pairs", "pairs"),
    "check": ("derain-compile", "--check", "g", "--backend", "tensorrt-rtx"),
}


# What is called otherwise is derained all the same.
FINE = {("run", "other-names"), ("eval", "other-names"), ("calibrate", "other-names")}
# What TensorRT's parser is asked for, in a process each: whether it takes the nodes.
UNPARSED = (
    *("no-bytes", "no-protobuf", "half", "no-graph", "no-inputs", "no-outputs"),
    *("no-nodes", "unknown-operator"),
)


def _bundle(make):
    return lambda path: write_bundle(path, make(), "64x48", FRAME, FRAME)


def _frames(path):
    from derain.core.pictures import write_picture

    path.mkdir()
    random = np.random.default_rng(0)
    for index in range(3):
        picture = random.integers(0, 255, (48, 64, 3), np.uint8)
        write_picture(path / f"{index}.png", picture)


FAULTS = [
    Fault(
        name=f"{command}-{graph}",
        run=words,
        given={"g": _bundle(make), "frames": _frames},
        says=r"\bg\b|model\.onnx|onnx|graph|TensorRT|tensorrt",
    )
    for graph, make in GRAPHS.items()
    for command, words in COMMANDS.items()
    if (command, graph) not in FINE and (command != "check" or graph in UNPARSED)
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_graph_is_told_in_one_line(fault, place):
    fault.check(place)


def _endless():
    """A loop whose condition stays true."""
    one = helper.make_tensor("one", FLOAT, [1], [1])
    steps = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    given = [
        _value("i", TensorProto.INT64, ()),
        _value("go", TensorProto.BOOL, ()),
        _value("x", FLOAT),
    ]
    made = [_value("go_on", TensorProto.BOOL, ()), _value("y", FLOAT)]
    body = helper.make_graph(steps, "body", given, made, [one])
    nodes = [
        helper.make_node("Cast", ["frame"], ["a"], to=FLOAT),
        helper.make_node("Loop", ["", "yes", "a"], ["b"], body=body),
        helper.make_node("Cast", ["b"], ["derained"], to=TensorProto.UINT8),
    ]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    return _graph(nodes, *GOOD, [yes])


ABSENT_GPU = ("--compute-capability", "8.6")
LATE = "not done with a frame after 0.2 s: it may loop for ever"
LOOPS = [
    Fault(
        name=name, run=words, given={"g": _bundle(_endless), "frames": _frames}, says=s
    )
    for name, words, s in (
        ("run", COMMANDS["run"], LATE),
        ("eval", COMMANDS["eval"], LATE),
        (
            "openvino",
            (*COMMANDS["run"], "--backend", "openvino"),
            "a loop without an end",
        ),
        ("check", COMMANDS["check"], "a loop without an end"),
        (
            "compile",
            ("derain-compile", "g", *COMMANDS["check"][3:], *ABSENT_GPU),
            "a loop without an end",
        ),
    )
]


@pytest.mark.parametrize("fault", LOOPS, ids=lambda fault: fault.name)
def test_a_graph_that_loops_for_ever_is_given_up(fault, place, monkeypatch):
    if fault.name == "openvino":
        pytest.importorskip("openvino", reason="needs derain[openvino]")
    monkeypatch.setenv("DERAIN_FRAME_SECONDS", "0.2")
    fault.check(place)


def test_a_row_of_a_benchmark_is_given_up(monkeypatch):
    """Whatever it does: the process ends, and the row has the error."""
    from derain.benchmarks.latency.runners import RemoteRunner
    from derain.core.errors import CandidateError

    context = multiprocessing.get_context("spawn")
    runner = object.__new__(RemoteRunner)
    runner._connection, other = context.Pipe()
    runner._process = context.Process(target=time.sleep, args=(60,), daemon=True)
    runner._process.start()
    monkeypatch.setenv("DERAIN_FRAME_SECONDS", "0.1")
    with pytest.raises(CandidateError, match=r"after 0\.1 s: it may loop for ever"):
        runner.sample(2)
    runner._process.join(30)
    assert runner._process.exitcode == -signal.SIGKILL
    other.close()


def test_an_export_and_a_calibration_give_such_a_graph_up(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="exports need derain[export]")
    import onnx_ir

    from derain.calibration.session import GraphSession
    from derain.core.errors import CalibrationError, ExportError
    from derain.export.verify import run_graph

    onnx.save(_endless(), tmp_path / "m.onnx")
    monkeypatch.setenv("DERAIN_FRAME_SECONDS", "0.2")
    with pytest.raises(ExportError, match=LATE):
        run_graph(tmp_path / "m.onnx", [FRAME])
    session = GraphSession(onnx_ir.from_proto(_endless()))
    with pytest.raises(CalibrationError, match=LATE):
        session.run(FRAME)


def test_a_second_graph_without_an_end_is_given_up(place, monkeypatch, caplog):
    """That of several cameras: its frames go one by one then."""
    from derain.runtime.derainer import Derainer
    from derain.runtime.pipeline.batching import open_batching

    onnx.save(_endless(), place / "endless.onnx")
    add_batch(place / "b", 2, [place / "b" / "model.onnx", place / "endless.onnx"])
    monkeypatch.setenv("DERAIN_FRAME_SECONDS", "0.2")
    with caplog.at_level("WARNING"), Derainer(place / "b", "onnxruntime") as derainer:
        assert open_batching(derainer) is None
    assert f"batches of 2: the graph is {LATE}" in caplog.text
    assert "frames go one by one" in caplog.text


@pytest.mark.parametrize("seconds", ["", "0", "-1", "nan", "1e400", "soon", "²"])
def test_the_limit_has_a_range(seconds, place, monkeypatch):
    monkeypatch.setenv("DERAIN_FRAME_SECONDS", seconds)
    says = "DERAIN_FRAME_SECONDS is .*, wanted seconds"
    run = ("derain-run", "b", "--source", "in.png", "--sink", "o.png")
    Fault(name="limit", run=run, says=says).check(place)
