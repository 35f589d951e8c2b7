from pathlib import Path

import pytest
from click.testing import CliRunner

from derain.benchmarks.report.model_cards import write_cards
from derain.benchmarks.report.network_tables import ByteRecord
from derain.benchmarks.report.readme import (
    CARDS,
    DOCS,
    WEIGHTS,
    documents,
    fill_tables,
    main,
)
from derain.benchmarks.report.record import read_record, write_record
from derain.core.errors import BenchmarkError
from derain.core.sizes import Size

# The records are the checkout's; an installed wheel is without them.
ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"
QUALITY = ROOT / "benchmarks" / "results" / "quality"
README = """\
Before.
<!-- bench:board/qsnet-32x24 -->
old
<!-- /bench -->
Between.
<!-- bench:board/all-32x24 -->
<!-- /bench -->
After.
"""


@pytest.fixture
def results(tmp_path, make_record, make_case, make_row):
    from derain.benchmarks.latency.percentiles import SpeedUp

    speed = SpeedUp(ratio=5.0, low=4.0, high=6.0, rounds=3)
    ours = make_row("bundle-fp32/onnxruntime", [[2.0], [2.0]], speed_up=speed)
    failed = make_row("compile", (), error="no compiler")
    plain = make_row("plain-onnx/onnxruntime", (), error="no memory")
    case = make_case(make_row(rounds=[[10.0], [10.0]]), failed, plain, ours)
    folder = tmp_path / "results"
    write_record(make_record(case), folder / "board" / "b.json")
    older = make_case(make_row(rounds=[[99.0]]))
    created = "2025-01-01T00:00:00+00:00"
    write_record(make_record(older, created=created), folder / "board" / "z.json")
    return folder


@pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not beside these tests")
def test_the_documents_agree_with_the_records():
    made = documents()
    assert {CARDS / f"{path.stem}.md" for path in WEIGHTS.glob("*.json")} <= set(made)
    for page, text in made.items():
        assert page.read_text(encoding="utf-8") == text, page
    assert {page.stem for page in CARDS.glob("*.md")} == {
        "index",
        *(path.stem for path in WEIGHTS.glob("*.json")),
    }


def test_a_table_of_networks_that_is_not_known_is_an_error():
    with pytest.raises(BenchmarkError, match="no table other"):
        fill_tables("<!-- table:other -->\n<!-- /table -->")


def test_a_floor_is_the_longer_of_memory_and_arithmetic(tmp_path):
    from derain.benchmarks.analysis.limits import Jetson

    (tmp_path / "a.json").write_text(
        '{"size": "100x100", "networks": {'
        '"bytes": {"kmac_per_px": 1, "targets": {"any": '
        '{"fp32": {"gigabytes": 0.1}, "fp16": {"gigabytes": 0.75}}}},'
        '"sums": {"kmac_per_px": 350, "targets": {"any": '
        '{"fp16": {"gigabytes": 0}}}}}}'
    )
    record = ByteRecord(tmp_path)
    jetson = Jetson(name="one", fp16_tflops=0.02, dram_gb_s=1.0)
    size = Size(100, 100)
    assert record.floor_ms("bytes", jetson, size) == pytest.approx(1000)
    assert record.floor_ms("bytes", jetson, Size(200, 100)) == pytest.approx(2000)
    assert record.floor_ms("sums", jetson, size) == pytest.approx(1000)
    assert record.gigabytes("other") is None


def test_a_record_of_weights_that_is_damaged_is_an_error(tmp_path):
    (tmp_path / "net.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="no record of weights"):
        write_cards(tmp_path, tmp_path)


def test_every_committed_record_can_be_read():
    other = {QUALITY, RESULTS / "bytes"}
    paths = [p for p in RESULTS.rglob("*.json") if not other & set(p.parents)]
    assert paths
    for path in paths:
        assert read_record(path).cases, path


def test_tables_are_made_from_the_newest_record(results):
    filled = fill_tables(README, results)
    assert "| eager | 10.0 |" in filled
    assert "99" not in filled
    assert "| compile | failed |" in filled
    assert "| 10.0 ms | 10.0 ms | failed | 2.00 ms, 5.0 x eager [4.0-6.0] (`" in filled
    assert "[4.0-6.0] (`bundle-fp32/onnxruntime`)" in filled
    assert "A board, 2 threads, 2026-01-02" in filled
    assert "old" not in filled


def test_int8_is_compared_with_fp32_on_each_runtime(
    tmp_path, make_record, make_case, make_row
):
    from derain.benchmarks.report.record import Quality

    near = Quality(psnr_db=45.04, identical=0.5, max_levels=9)
    rows = [
        make_row("eager", [[50.0], [50.0]]),
        make_row("bundle-fp32/onnxruntime", [[10.0], [10.0]]),
        make_row("bundle-int8/onnxruntime", (), error="no memory"),
        make_row("bundle-int8-onnxruntime/onnxruntime", [[20.0], [20.0]], quality=near),
        make_row("bundle-fp32/openvino", [[12.0], [12.0]]),
        make_row("bundle-int8/openvino", [[8.0], [8.0]], quality=near),
    ]
    write_record(make_record(make_case(*rows)), tmp_path / "board" / "a.json")
    marked = "<!-- bench:board/int8-32x24 -->\n<!-- /bench -->"
    lines = fill_tables(marked, tmp_path).splitlines()
    (line,) = (x for x in lines if x.startswith("| `qsnet`"))
    assert line == (
        "| `qsnet` | 10.0 ms | 20.0 ms, 0.50 x FP32 [0.50-0.50], 45.0 dB "
        "| 12.0 ms | 8.00 ms, 1.25 x FP32 [1.25-1.25], 45.0 dB |"
    )


def test_the_rest_stays_and_a_second_time_changes_nothing(results):
    filled = fill_tables(README, results)
    for line in ("Before.", "Between.", "After."):
        assert line in filled.splitlines()
    assert fill_tables(filled, results) == filled


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("<!-- bench:board/qsnet-64x64 -->\n<!-- /bench -->", "has qsnet at 64x64"),
        ("<!-- bench:other/qsnet-32x24 -->\n<!-- /bench -->", "has qsnet at 32x24"),
        ("<!-- bench:board/qsnet-32x24 -->\nno end", "marker is not of the form"),
    ],
)
def test_a_table_that_cannot_be_made_is_an_error(results, marker, message):
    with pytest.raises(BenchmarkError, match=message):
        fill_tables(marker, results)


def test_the_command_changes_the_file_and_check_does_not(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    arguments = [str(readme), "--results", str(results)]
    checked = CliRunner().invoke(main, [*arguments, "--check"])
    assert checked.exit_code == 1
    assert readme.read_text() == README
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert readme.read_text() == fill_tables(README, results)
    assert CliRunner().invoke(main, [*arguments, "--check"]).exit_code == 0
