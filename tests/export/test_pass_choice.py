"""Which row of passes is taken: by what engines move, or by earlier figures."""

import logging

import onnx
import pytest
from torch import nn

from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange
from derain.export import pass_choice
from derain.export.frame_graph import wrap_frame
from derain.export.map_sizes import MapSizes
from derain.export.pass_choice import (
    PassChoice,
    choose_passes,
    measure_int8,
    measure_rows,
)
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import open_network
from derain.models.registry import NetworkFacts
from derain.runtime.tensorrt.engine_bytes import EngineBytes, Kernel
from derain.runtime.tensorrt.int8_bytes import known_bytes
from support.graphs import Wrapped, graph_of
from support.video_networks import RlspLike, lively

SIZE = Size(24, 18)
KERNEL = Kernel(name="", kind="", read_bytes=1, written_bytes=2)


@pytest.fixture(scope="module")
def core():
    found = CoreGraph(graph_of(Wrapped(nn.Conv2d(16, 16, 1), 16)), MapSizes({}))
    wrap_frame(found, NetworkFacts(), SizeRange.static(SIZE))
    return found


@pytest.fixture
def measured(monkeypatch):
    """Lets an engine of each row move so many bytes."""

    def set_bytes(**moved):
        monkeypatch.setattr(pass_choice, "installed", lambda: ["tensorrt-rtx"])
        monkeypatch.setattr(pass_choice, "measure_rows", lambda core, size: moved)

    return set_bytes


@pytest.mark.parametrize(
    ("moved", "row"),
    [
        ({"tensorrt": 5, "any": 6}, "tensorrt"),
        ({"tensorrt": 6, "any": 5}, "any"),
        ({"tensorrt": 5, "any": 5}, "tensorrt"),
    ],
)
def test_the_row_that_moves_fewer_bytes_is_taken(core, measured, moved, row):
    measured(**moved)
    choice = choose_passes(core, "tensorrt", "own", SIZE)
    assert choice.row == row
    assert choice.moved_bytes == moved


@pytest.mark.parametrize("target", ["any", "onnxruntime"])
def test_other_targets_have_one_row(core, measured, target):
    measured(tensorrt=1, any=2)
    assert choose_passes(core, target, "own", SIZE).row == target


@pytest.mark.parametrize(("model", "row"), [("odd", "any"), ("unknown", "tensorrt")])
def test_without_the_compiler_earlier_figures_decide(core, monkeypatch, model, row):
    monkeypatch.setattr(pass_choice, "installed", list)
    monkeypatch.setitem(pass_choice.MEASURED, "odd", {"tensorrt": 9, "any": 8})
    choice = choose_passes(core, "tensorrt", model, SIZE)
    assert choice.row == row
    assert not choice.moved_bytes


def test_a_compile_that_fails_is_a_note(core, monkeypatch, caplog):
    def fail(core, size):
        raise EngineError("no memory")

    monkeypatch.setattr(pass_choice, "installed", lambda: ["tensorrt-rtx"])
    monkeypatch.setattr(pass_choice, "measure_rows", fail)
    with caplog.at_level(logging.WARNING, "derain"):
        assert choose_passes(core, "tensorrt", "own", SIZE).row == "tensorrt"
    assert "not measured: no memory" in caplog.text


@pytest.fixture
def int8(core, monkeypatch, tmp_path):
    """What is known of an INT8 graph whose engine moves `moved`, or cannot be built."""

    def measure(moved, choice, model="own"):
        def engine(path, precision, size, backend, states):
            assert (precision, backend, states) == ("int8", "tensorrt-rtx", ())
            if moved is None:
                raise EngineError("no memory")
            kernel = Kernel(name="k", kind="k", read_bytes=moved, written_bytes=0)
            return EngineBytes(
                backend=backend, version="1.7", size=size, kernels=(kernel,)
            )

        monkeypatch.setattr(pass_choice, "measure_engine_bytes", engine)
        return measure_int8(tmp_path / "model.onnx", core, choice, model, SIZE)

    return measure


def test_int8_is_compared_with_the_row_of_fp16_that_is_taken(int8):
    found = int8(30, PassChoice("any", {"tensorrt": 25, "any": 20}))
    assert (found.int8, found.fp16, found.size) == (30, 20, SIZE)
    assert "compiled with TensorRT-RTX 1.7" in found.warning()


def test_int8_without_the_compiler_is_compared_by_earlier_figures(int8):
    assert int8(30, PassChoice("tensorrt")) is None
    known = int8(30, PassChoice("tensorrt"), "treefusion")
    assert known == known_bytes("treefusion", SIZE)
    assert int8(None, PassChoice("any", {"any": 20}), "treefusion") == known


def test_no_shipped_network_moves_more_for_tensorrt_than_for_any():
    for name, moved in pass_choice.MEASURED.items():
        assert moved["tensorrt"] <= moved["any"], name


def test_states_are_compiled_as_they_are_typed(monkeypatch):
    """A graph with a memory is measured, not left to earlier figures."""
    loaded = open_network(RlspLike(), facts=NetworkFacts(multiple_of=2))
    sizes = SizeRange.static(SIZE)
    remembers = to_onnx(loaded.video, loaded.facts, sizes, 20)
    wrap_frame(remembers, loaded.facts, sizes)
    asked = []

    def compiled(path, precision, size, backend, states):
        inputs = onnx.load(path).graph.input
        asked.append(([each.name for each in inputs], states))
        return EngineBytes(
            backend="tensorrt-rtx", version="1", size=size, kernels=(KERNEL,)
        )

    monkeypatch.setattr(pass_choice, "measure_engine_bytes", compiled)
    assert measure_rows(remembers, SIZE) == {"tensorrt": 3, "any": 3}
    for inputs, states in asked:
        assert inputs == ["frame", "state_0_in", "state_1_in"]
        assert [(each.dtype, each.shapes[0]) for each in states] == [
            ("float16", (1, 3, 18, 24)),
            ("float16", (1, 12, 9, 12)),
        ]


def test_a_graph_with_states_is_really_compiled():
    pytest.importorskip("tensorrt_rtx")
    loaded = open_network(lively(RlspLike()), facts=NetworkFacts(multiple_of=2))
    sizes = SizeRange.static(SIZE)
    remembers = to_onnx(loaded.video, loaded.facts, sizes, 20)
    wrap_frame(remembers, loaded.facts, sizes)
    moved = measure_rows(remembers, SIZE)
    states = 2 * (3 + 12 / 4) * SIZE.pixels  # bytes in FP16
    assert min(moved.values()) > 2 * states + 2 * 3 * SIZE.pixels


def test_both_rows_are_really_compiled(core):
    pytest.importorskip("tensorrt_rtx")
    before = len(core.model.graph)
    moved = measure_rows(core, SIZE)
    assert set(moved) == {"tensorrt", "any"}
    assert min(moved.values()) > 2 * 3 * SIZE.pixels
    assert len(core.model.graph) == before
