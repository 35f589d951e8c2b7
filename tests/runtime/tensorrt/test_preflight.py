"""What TensorRT's parser would refuse, before anything is built."""

import json

import numpy as np
import pytest

from derain.core.bundle import MODEL_FILE, sha256
from derain.core.errors import EngineError
from derain.core.manifest import FILE_NAME
from derain.runtime.tensorrt import preflight
from derain.runtime.tensorrt.network_definition import RefusedNode
from support.commands import content


@pytest.mark.usefixtures("rtx")
def test_a_graph_that_is_taken(make_bundle, compile_command):
    result = compile_command(make_bundle(), "--check")
    assert result.returncode == 0
    assert "takes the graph" in result.stdout


@pytest.mark.usefixtures("rtx")
def test_an_empty_graph_is_not_taken(make_bundle, compile_command):
    from onnx import helper

    folder = make_bundle()
    model = helper.make_model(helper.make_graph([], "empty", [], []))
    old = sha256(folder / MODEL_FILE)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    manifest = (folder / FILE_NAME).read_text()
    manifest = manifest.replace(old, sha256(folder / MODEL_FILE))
    (folder / FILE_NAME).write_text(manifest)
    result = compile_command(folder, "--check")
    assert result.returncode == 1
    assert "is no frame-to-frame graph: it has 0 inputs" in result.stderr


@pytest.mark.usefixtures("rtx")
def test_every_refused_node_is_listed(make_bundle, compile_command):
    result = compile_command(make_bundle("unpool"), "--check")
    assert result.returncode == 1
    pool, unpool = result.stdout.splitlines()
    assert pool.startswith("MaxPool pool: ")
    assert unpool == (
        "MaxUnpool unpool: it has no such operator; "
        "export the bundle with --target tensorrt"
    )
    assert "refuses 2 nodes of " in result.stderr
    assert "and may refuse others that it has not come to; run: " in result.stderr
    assert "run: derain-export --model qsnet --fp32 --target tensorrt" in result.stderr


@pytest.mark.usefixtures("rtx")
def test_refused_nodes_as_json(make_bundle, compile_command):
    result = compile_command(make_bundle("unpool"), "--check", "--json")
    answer = json.loads(result.stdout)
    assert answer["backend"] == "tensorrt-rtx"
    assert [node["operator"] for node in answer["refused"]] == ["MaxPool", "MaxUnpool"]
    assert all(node["advice"] for node in answer["refused"])


@pytest.mark.usefixtures("rtx")
def test_nothing_is_written(make_bundle, compile_command):
    folder = make_bundle()
    before = content(folder)
    compile_command(folder, "--check")
    assert content(folder) == before


@pytest.fixture
def check_nodes(tmp_path, rtx):
    """What the real parser says about these nodes, from "x" to "y"."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def run(*nodes):
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8])
            for name in "xy"
        ]
        zeros = onnx.numpy_helper.from_array(np.zeros((1, 8), np.int64), "zeros")
        made = [
            helper.make_node(operator, inputs, outputs, name=name, **attributes)
            for name, operator, inputs, outputs, attributes in nodes
        ]
        graph = helper.make_graph(made, "g", values[:1], values[1:], [zeros])
        opset = [helper.make_opsetid("", 20)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=10)
        onnx.save(model, tmp_path / "model.onnx")
        return preflight.check(tmp_path / "model.onnx", "tensorrt-rtx").refused

    return run


def test_all_unknown_operators_are_listed_with_or_without_a_name(check_nodes):
    refused = check_nodes(
        ("first", "NoSuchOperator", ["x"], ["a"], {}),
        ("between", "Relu", ["a"], ["b"], {}),
        ("", "NoSuchOperator", ["b"], ["c"], {}),
        ("last", "NorThisOne", ["c"], ["y"], {}),
    )
    assert [(node.operator, node.name) for node in refused] == [
        ("NoSuchOperator", "first"),
        ("NoSuchOperator", "#2"),
        ("NorThisOne", "last"),
    ]


def test_a_node_that_the_parser_does_not_name_is_named(check_nodes):
    (node,) = check_nodes(
        ("before", "Relu", ["x"], ["a"], {}),
        (
            "scatter",
            "ScatterElements",
            ["a", "zeros", "a"],
            ["b"],
            {"reduction": "add"},
        ),
        ("after", "Relu", ["b"], ["y"], {}),
    )
    assert str(node) == "ScatterElements scatter: Unsupported reduction type"
    assert preflight.advice(node).startswith("no reduction: write it with")


@pytest.mark.usefixtures("rtx")
def test_the_way_to_a_node_inside_a_function_is_told(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    opset = [helper.make_opsetid("", 20), helper.make_opsetid("derain", 1)]
    inner = helper.make_node("NoSuchOperator", ["a"], ["b"], name="inner")
    function = helper.make_function("derain", "Wrap", ["a"], ["b"], [inner], opset)
    call = helper.make_node("Wrap", ["x"], ["y"], name="call", domain="derain")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"
    ]
    graph = helper.make_graph([call], "g", values[:1], values[1:])
    model = helper.make_model(
        graph, opset_imports=opset, functions=[function], ir_version=10
    )
    onnx.save(model, tmp_path / "model.onnx")
    (node,) = preflight.check(tmp_path / "model.onnx", "tensorrt-rtx").refused
    assert node.operator == "NoSuchOperator"
    assert str(node).startswith("NoSuchOperator inner in call (Wrap): Plugin not found")


def test_without_a_library_there_is_no_parser(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "installed", list)
    with pytest.raises(
        preflight.NoParserError, match=r"neither .* is installed; run: "
    ):
        preflight.check(tmp_path)


def test_the_next_library_is_asked_if_one_does_not_start(monkeypatch, tmp_path):
    def run(request):
        if request["backend"] == "tensorrt":
            return {"unavailable": "no GPU"}
        return {"version": "1.7", "layers": 3, "refused": []}

    monkeypatch.setattr(preflight, "installed", lambda: ["tensorrt", "tensorrt-rtx"])
    monkeypatch.setattr(preflight, "run_child", run)
    assert preflight.check(tmp_path).backend == "tensorrt-rtx"
    with pytest.raises(preflight.NoParserError, match=r"^no GPU$"):
        preflight.check(tmp_path, "tensorrt")


def test_a_crash_is_not_taken_for_a_missing_parser(monkeypatch, tmp_path):
    def run(request):
        raise EngineError("crashed")

    monkeypatch.setattr(preflight, "run_child", run)
    with pytest.raises(EngineError, match="crashed") as error:
        preflight.check(tmp_path, "tensorrt")
    assert not isinstance(error.value, preflight.NoParserError)


# What derain-export does with the answer.


@pytest.fixture
def ask(monkeypatch, tmp_path, said):
    pytest.importorskip("torch", reason="the exporter needs derain[export]")
    from derain.export.model_file import ask_parser

    def run(answer):
        def check(model):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(preflight, "check", check)
        return ask_parser(tmp_path), said()

    return run


def answer(*refused):
    return preflight.Preflight(
        backend="tensorrt-rtx", version="1.7", layers=3, refused=refused
    )


def test_an_export_notes_what_the_parser_said(ask):
    recorded, _ = ask(answer())
    assert recorded == {
        "backend": "tensorrt-rtx",
        "version": "1.7",
        "layers": 3,
        "refused": 0,
    }


def test_an_export_with_a_refused_node_fails(ask):
    from derain.core.errors import ExportError

    node = RefusedNode(name="x", operator="MaxUnpool", reason="no")
    with pytest.raises(ExportError, match="refuses 1 nodes: MaxUnpool x: no; export"):
        ask(answer(node))


def test_an_export_without_a_parser_says_so(ask):
    recorded, lines = ask(preflight.NoParserError("none here"))
    assert recorded == {}
    assert lines == ["not checked by TensorRT's parser: none here"]
