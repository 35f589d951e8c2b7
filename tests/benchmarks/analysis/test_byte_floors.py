"""From bytes and arithmetic to the least time on each module."""

import json

import pytest
from click.testing import CliRunner

from derain.benchmarks.analysis import byte_floors
from derain.benchmarks.analysis.byte_floors import SIZES, floor_of, measure_bytes
from derain.benchmarks.analysis.graph_counts import count_graph
from derain.benchmarks.analysis.limits import JETSONS
from derain.benchmarks.cli import main
from derain.core.errors import BenchmarkError
from derain.core.sizes import Size
from derain.runtime.tensorrt.engine_bytes import EngineBytes, Kernel
from support.memory_network import Fading, Seeing, clip_of

MODULES = {jetson.name: jetson for jetson in JETSONS}


def engine(megabytes, size=SIZES[0]):
    kernels = [
        Kernel(name=name, kind="conv", read_bytes=half, written_bytes=half)
        for name, half in (("small", 0), ("large", int(megabytes * 5e5)))
    ]
    return EngineBytes(
        backend="tensorrt-rtx", version="1.7.1", size=size, kernels=tuple(kernels)
    )


@pytest.mark.parametrize(
    ("module", "size", "memory_ms"),
    [
        # 5909 MB at 75 % of the bandwidth
        ("Orin Nano 8GB 15 W", SIZES[0], 115.9),
        ("Orin Nano Super", SIZES[0], 77.2),
        ("Orin Nano Super", SIZES[1], 173.8),
        ("AGX Orin 32GB", SIZES[0], 38.5),
        ("Thor T5000", SIZES[0], 28.9),
    ],
)
def test_bytes_take_time(module, size, memory_ms):
    floor = floor_of(MODULES[module], engine(5909), None, "fp16", size)
    assert floor.memory_ms == pytest.approx(memory_ms, abs=0.1)
    assert floor.arithmetic_ms is None
    assert floor.binds == "memory"
    assert floor.floor_ms == floor.memory_ms


@pytest.mark.parametrize(
    ("precision", "arithmetic_ms", "binds"),
    [("fp32", 31.5, "arithmetic"), ("fp16", 15.8, "memory"), ("int8", 7.9, "memory")],
)
def test_the_longer_of_the_two_binds(precision, arithmetic_ms, binds):
    super_ = MODULES["Orin Nano Super"]
    # 50 kMAC/px at 35 % of 16.7 TFLOP/s, and 1530 MB, which take 20 ms
    floor = floor_of(super_, engine(1530), 50_000 * 1280 * 720, precision, SIZES[0])
    assert floor.arithmetic_ms == pytest.approx(arithmetic_ms, abs=0.1)
    assert floor.binds == binds
    assert floor.floor_ms == pytest.approx(max(20.0, arithmetic_ms), abs=0.1)


def test_a_bundle_as_a_table(bundle, monkeypatch):
    monkeypatch.setattr(
        byte_floors,
        "measure_engine_bytes",
        lambda model, precision, size, states: engine(100, size),
    )
    found = measure_bytes(bundle)
    assert found.engine.size == Size(32, 24)
    assert found.macs == 0
    text = found.text(kernels=True)
    assert "2 kernels of tensorrt-rtx 1.7.1, 32x24: 100 MB and 0 GFLOP" in text
    assert all(name in text for name in MODULES)
    assert text.index("large") < text.index("small")


def test_a_size_that_the_bundle_does_not_take(bundle):
    with pytest.raises(BenchmarkError, match="takes 32x24, not 64x48"):
        measure_bytes(bundle, Size(64, 48))


def test_the_command(bundle, monkeypatch):
    monkeypatch.setattr(
        byte_floors,
        "measure_engine_bytes",
        lambda model, precision, size, states: engine(100, size),
    )
    run = CliRunner().invoke
    table = run(main, ["bytes", str(bundle), str(bundle), "--quiet"])
    assert table.exit_code == 0, table.output
    assert table.output.count("Orin Nano Super") == 2
    found = json.loads(run(main, ["bytes", str(bundle), "--json", "--quiet"]).output)
    assert [kernel["name"] for kernel in found[0]["engine"]["kernels"]] == [
        "small",
        "large",
    ]
    missing = run(main, ["bytes", str(bundle / "nothing")])
    assert missing.exit_code == 1
    assert "nothing" in missing.output


def test_states_are_read_and_written_once_a_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(
        byte_floors,
        "measure_engine_bytes",
        lambda model, precision, size, states: engine(0.1, size),
    )
    folder = Fading("48x32").bundle(tmp_path / "b", clip_of(4, Size(48, 32)))
    found = measure_bytes(folder)
    # A frame of bytes, and a quarter of one of floats.
    assert found.state_bytes == 2 * (48 * 32 * 3 + 24 * 16 * 3 * 4)
    assert "states, read and written once: 0.0 MB of it, 18%" in found.text()


def test_states_are_in_the_least_that_a_graph_moves(tmp_path):
    folder = Seeing("48x32").bundle(tmp_path / "b", clip_of(4, Size(48, 32)))
    counts = count_graph(folder / "model.onnx")
    assert counts.least_bytes == 6 * 48 * 32 * 3
