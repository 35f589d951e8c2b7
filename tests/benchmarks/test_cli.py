"""The command as a whole, on a network of a few numbers."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from derain.benchmarks.analysis.limits import JETSONS
from derain.benchmarks.cli import main
from derain.benchmarks.latency.runtime_cost import measure_runtime
from derain.benchmarks.report.record import read_record
from derain.core.sizes import Size
from support.memory_network import Fading, clip_of

NETWORK = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x - 0.1 * self.conv(x)


class Windowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(9, 3, 3, padding=1)

    def forward(self, x):
        return x[:, 3:6] - 0.1 * self.conv(x)


class Broken(Tiny):
    def forward(self, x):
        raise RuntimeError("this network is out of order")
"""
FAST = [
    *("--duration", "0", "--min-rounds", "3", "--warm-up", "0.3", "--quiet"),
    *("--backend", "onnxruntime"),
]


def bench(folder, *arguments):
    """The command in a process of its own, which is where rows are started from."""
    return subprocess.run(
        [sys.executable, "-m", "derain.benchmarks.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the results of one run, and what it printed."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("bench")
    (folder / "nets.py").write_text(NETWORK)
    rows = ("eager", "eager-tuned", "eager-fp16", "plain-onnx", "bundle-fp32")
    rows += ("bundle-int8",)
    done = bench(
        folder,
        *("--model", "nets:Tiny", "--size", "64x48", "--threads", "1", *FAST),
        *(part for row in rows for part in ("--row", row)),
        *("--work", "work", "--output", "record.json", "--markdown", "table.md"),
        *("--csv", "table.csv", "--latex", "table.tex"),
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def case(measured):
    (case,) = read_record(measured[0] / "record.json").cases
    return case


def test_every_row_is_measured_in_every_round(case):
    rows = {row.key: row for row in case.rows}
    assert list(rows) == [
        "eager",
        "eager-tuned",
        "plain-onnx/onnxruntime",
        "bundle-fp32/onnxruntime",
    ]
    for row in case.rows:
        assert row.error is None
        assert len(row.rounds_ms) == 3
        assert row.latency.frames == sum(len(sample) for sample in row.rounds_ms)
        assert row.speed_up.rounds == row.speed_up_best.rounds == 3
        assert row.start_up.total_s > row.start_up.first_frame_s > 0
        assert row.peak_host_bytes > 10 << 20
        assert "1 thread" in row.description
    assert rows["eager"].speed_up.ratio == 1.0
    assert set(rows["eager"].split_ms) == {"pre", "compute", "post"}
    assert rows["bundle-fp32/onnxruntime"].model_bytes > 0
    assert rows["eager"].model_bytes is None


def test_rows_are_compared_with_pytorch(case):
    rows = {row.key: row for row in case.rows}
    assert case.quality_reference == "eager"
    assert rows["eager"].quality is None
    for key in ("plain-onnx/onnxruntime", "bundle-fp32/onnxruntime"):
        assert rows[key].quality.identical > 0.999
        assert rows[key].quality.max_levels <= 1


def test_what_is_left_out_is_said(case):
    if "eager-fp16" in {row.key for row in case.rows}:
        pytest.skip("there is a GPU")
    assert case.left_out["eager-fp16"] == "no NVIDIA GPU"


def test_int8_needs_footage(case):
    assert case.left_out["bundle-int8"] == "needs --calibrate-on or --calibration"


def test_limits_are_counted(case):
    plain = next(c for c in case.limits.counts if c.graph == "plain")
    assert plain.kmac_per_px * 1000 == pytest.approx(3 * 3 * 9)
    assert case.parameters == 3 * 3 * 9 + 3
    assert case.limits.roofline_ms["cpu-fp32"] > 0
    assert len(case.limits.verdicts) == len(JETSONS)


def test_the_record_says_how_to_repeat_it(measured):
    record = read_record(measured[0] / "record.json")
    assert record.command[:3] == ["derain-bench", "--model", "nets:Tiny"]
    assert {"torch", "onnxruntime", "numpy"} <= record.machine.packages.keys()
    assert record.threads == 1
    assert {(c.device, c.kind) for c in record.ceilings} >= {
        ("cpu", "copy"),
        ("cpu", "product"),
    }


def test_the_table_is_printed_and_written(measured):
    folder, printed = measured
    assert "bundle-fp32/onnxruntime" in printed
    assert "| bundle-fp32/onnxruntime |" in (folder / "table.md").read_text()
    assert "bundle-fp32/onnxruntime & " in (folder / "table.tex").read_text()
    lines = (folder / "table.csv").read_text().splitlines()
    assert lines[0].startswith("model,size,row,precision,error,median_ms,")
    assert lines[4].startswith("nets:Tiny,64x48,bundle-fp32/onnxruntime,fp32,,")


def test_plots_are_written(measured, tmp_path):
    pytest.importorskip("matplotlib")
    from derain.benchmarks.report.plots import write_plots

    record = read_record(measured[0] / "record.json")
    written = write_plots(record, tmp_path / "plots")
    assert [path.name for path in written] == [
        "nets.Tiny-64x48-latency.png",
        "nets.Tiny-64x48-quality.png",
        "nets.Tiny-64x48-roofline.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_what_was_exported_is_used_again(measured):
    folder, _ = measured
    before = {path: path.stat().st_mtime_ns for path in folder.glob("work/**/*.onnx")}
    assert len(before) == 2
    done = bench(
        folder,
        *("--model", "nets:Tiny", "--size", "64x48", *FAST),
        *("--row", "bundle-fp32", "--work", "work", "--json"),
    )
    record = json.loads(done.stdout)
    assert record["cases"][0]["export_s"] == {}
    assert before == {path: path.stat().st_mtime_ns for path in before}
    # Without the row eager, a bundle is compared with its own golden frame.
    assert record["cases"][0]["quality_reference"] == "golden frame"


def test_rows_that_fail_are_rows_with_their_errors(measured):
    folder, _ = measured
    done = bench(
        folder,
        *("--model", "nets:Broken", "--size", "32x24", *FAST, "--json"),
        *("--row", "eager", "--row", "bundle-fp32"),
    )
    eager, ours = json.loads(done.stdout)["cases"][0]["rows"]
    assert eager["error"] == "RuntimeError: this network is out of order"
    assert "Traceback" in eager["error_detail"]
    assert "out of order" in ours["error"]
    assert eager["latency"] is ours["latency"] is None
    assert done.returncode == 1
    assert done.stderr == (
        "Error: every row failed, the first, eager: RuntimeError: this network is out "
        "of order\n"
    )


def test_a_network_over_a_window_is_measured_in_every_row(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    (tmp_path / "nets.py").write_text(NETWORK)
    done = bench(
        tmp_path,
        *("--model", "nets:Windowed", "--size", "32x24", *FAST, "--json"),
        *("--window", "3", "--look-ahead", "1", "--threads", "1"),
        *("--row", "eager", "--row", "plain-onnx", "--row", "bundle-fp32"),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["cases"][0]["rows"]
    frame = 32 * 24 * 3
    assert [row["state_bytes"] for row in rows] == [8 * frame, 8 * frame, 2 * frame]
    for row in rows:
        assert row["error"] is None
        assert row["look_ahead"] == 1
        assert row["latency"]["frames"] >= 3
        # Of the second frame of a clip: it has seen the first.
        assert row["quality"] is None or row["quality"]["max_levels"] <= 1


def test_int8_is_calibrated_on_the_footage_given(measured):
    from derain.core.pictures import write_picture
    from derain.core.sizes import Size
    from derain.export.frames import verification_frames

    folder, _ = measured
    (folder / "rain").mkdir()
    for k, frame in enumerate(verification_frames(Size(64, 48), 6)):
        write_picture(folder / "rain" / f"{k}.png", frame)
    arguments = (
        *("--model", "nets:Tiny", "--size", "64x48", *FAST, "--json", "--work", "w8"),
        *("--row", "eager", "--row", "bundle-int8-onnxruntime"),
    )
    done = bench(folder, *arguments, "--calibrate-on", "rain")
    assert done.returncode == 0, done.stderr
    _, small = json.loads(done.stdout)["cases"][0]["rows"]
    assert (small["precision"], small["error"]) == ("int8", None)
    assert 42 < small["quality"]["psnr_db"] < 70
    (bundle,) = folder.glob("w8/*-int8-onnxruntime")

    file = str(bundle / "calibration.json")
    done = bench(folder, *arguments, "--calibration", file)
    again = json.loads(done.stdout)["cases"][0]["rows"][1]
    assert again["quality"] == small["quality"]


@pytest.fixture
def no_ceilings(monkeypatch):
    """What takes seconds, and is seen elsewhere."""
    monkeypatch.setattr(
        "derain.benchmarks.latency.benchmark.measure_peaks", lambda n: []
    )


@pytest.mark.usefixtures("no_ceilings")
def test_a_bundle_made_elsewhere_is_measured_in_one_process(bundle):
    arguments = ["--bundle", str(bundle), "--one-process", "--json", *FAST]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (case,) = record["cases"]
    assert record["processes"] == "one"
    assert case["size"] == "32x24"
    (row,) = case["rows"]
    assert row["key"] == "bundle halves/onnxruntime"
    assert row["start_up"] is None
    assert row["peak_host_bytes"] is None
    assert len(row["rounds_ms"]) == 3


@pytest.mark.usefixtures("no_ceilings")
def test_without_torch_its_rows_are_left_out_and_said_to_be(bundle, monkeypatch):
    from derain.benchmarks.latency import plan

    there = plan.find_spec
    monkeypatch.setattr(
        plan, "find_spec", lambda name: None if name == "torch" else there(name)
    )
    arguments = ["--model", "qsnet", "--size", "32x24", "--bundle", str(bundle)]
    done = CliRunner().invoke(main, [*arguments, "--json", *FAST])
    assert done.exit_code == 0, done.output
    (case,) = json.loads(done.stdout)["cases"]
    assert [row["key"] for row in case["rows"]] == ["bundle halves/onnxruntime"]
    assert case["left_out"]["eager"] == "torch is not installed"
    assert "torch" in case["left_out"]["bundle-fp32"]


@pytest.mark.usefixtures("no_ceilings")
def test_quality_against_the_truth_is_measured_with_pairs(bundle, tmp_path, frame):
    from derain.core.pictures import write_picture

    for name, picture in (("rain", frame), ("clean", frame >> 1)):
        (tmp_path / "pairs" / name).mkdir(parents=True)
        write_picture(tmp_path / "pairs" / name / "1.png", picture)
    arguments = ["--bundle", str(bundle), "--pairs", str(tmp_path / "pairs")]
    done = CliRunner().invoke(main, [*arguments, "--json", "--one-process", *FAST])
    (row,) = json.loads(done.stdout)["cases"][0]["rows"]
    assert row["truth"]["pictures"] == 1
    assert row["truth"]["psnr_db"] is None  # perfect: the bundle halves
    assert row["truth"]["ssim"] == pytest.approx(1.0)
    assert row["truth"]["rainy_psnr_db"] < 30


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "give --model, --bundle or both"),
        (["--model", "qsnet", "--size", "big"], 2, "WIDTHxHEIGHT"),
        (["--model", "qsnet", "--weights", "x", "--random-weights"], 2, "exclude"),
        (["--models", "all", "--weights", "x"], 2, "exactly one --model"),
        (["--models", "all", "--calibration", "x"], 2, "exactly one --model"),
        (
            ["--model", "qsnet", "--calibration", "x", "--calibrate-on", "y"],
            2,
            "exclude",
        ),
        (["--bundle", "nowhere"], 1, "nowhere is not a bundle"),
        (["--model", "qsnt"], 1, "unknown model 'qsnt'; choose from"),
    ],
)
def test_what_makes_no_sense_is_said(arguments, status, message):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status
    assert message in done.output


def test_a_file_that_exists_is_not_replaced(bundle, tmp_path):
    output = tmp_path / "record.json"
    output.write_text("mine")
    done = CliRunner().invoke(main, ["--bundle", str(bundle), "-o", str(output)])
    assert done.exit_code == 1
    assert "replace it with --force" in done.output
    assert output.read_text() == "mine"


def test_plots_without_matplotlib_are_refused_before_measuring(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "derain.benchmarks.report.plots", False)
    done = CliRunner().invoke(main, ["--bundle", str(bundle), "--plots", "plots"])
    assert done.exit_code == 1
    wanted = "matplotlib is not installed; run: pip install 'derain[bench]'"
    assert done.stderr == f"Error: {wanted}\n"


def test_help_lists_rows_and_commands_without_heavy_imports():
    code = (
        "import sys\nfrom derain.benchmarks.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for word in ("--duration", "compare", "runtime", "bundle-fp16"):
        assert word in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "cv2", "matplotlib", "openvino"}
    assert not loaded & heavy


def test_what_a_memory_costs_is_measured():
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    arguments = ["states", "--size", "64x48", "--rounds", "3", "--json", "--quiet"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    cost = json.loads(done.stdout)
    assert cost["state_bytes"] == 16 * 32 * 24 * 4
    assert cost["rounds"] == 3
    for name in ("ratio", "cpu_ratio"):
        assert 0 < cost[f"{name}_low"] <= cost[name] <= cost[f"{name}_high"]
    # Neither a state nor a frame is made anew.
    assert cost["kept_bytes_per_frame"] < 64 * 48
    assert cost["peak_bytes"] < cost["state_bytes"]
    odd = CliRunner().invoke(main, ["states", "--size", "63x48"])
    assert odd.exit_code == 2


def test_the_runtime_with_a_memory_is_measured(tmp_path):
    size = Size(48, 32)
    bundle = Fading(str(size)).bundle(tmp_path / "b", clip_of(4, size))
    cost = measure_runtime(bundle, 10, 1)
    assert cost.loop_ms >= cost.session_ms > 0


def test_the_runtime_itself_is_measured(bundle):
    arguments = ["runtime", "--bundle", str(bundle), "--frames", "20", "--json"]
    done = CliRunner().invoke(main, [*arguments, "--quiet"])
    assert done.exit_code == 0, done.output
    cost = json.loads(done.stdout)
    assert cost["frames"] == 20
    assert cost["loop_ms"] >= cost["session_ms"] > 0
    assert cost["overhead_low_ms"] <= cost["overhead_ms"] <= cost["overhead_high_ms"]
    assert cost["frame_bytes"] == 32 * 24 * 3
    # A picture kept per frame would count whole; one more in flight at the end than at
    # the start counts as a fiftieth.
    assert cost["kept_bytes_per_frame"] < cost["frame_bytes"] / 2
    assert cost["first_frame_s"] > 0
    assert cost["help_s"] > 0
