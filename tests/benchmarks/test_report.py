import pytest

from derain.benchmarks.analysis.graph_counts import GraphCounts, NodeCost
from derain.benchmarks.analysis.limits import (
    Ceiling,
    Limits,
    describe_counts,
    judge,
    rooflines_ms,
)
from derain.benchmarks.latency.percentiles import SpeedUp
from derain.benchmarks.report.record import Quality, read_record, write_record
from derain.benchmarks.report.text_tables import case_table, markdown, text

CEILINGS = [
    Ceiling(
        device="cpu", kind="copy", precision="fp32", giga_per_s=10.0, library="NumPy"
    ),
    Ceiling(
        device="cpu", kind="product", precision="fp32", giga_per_s=50.0, library="NumPy"
    ),
    Ceiling(
        device="cpu",
        kind="product",
        precision="fp32",
        giga_per_s=100.0,
        library="PyTorch",
    ),
]


def graph(*costs):
    """A graph of 1280x720 whose nodes have these MACs and bytes."""
    nodes = [NodeCost(name="", op_type="Conv", macs=m, moved_bytes=b) for m, b in costs]
    pixels = 1280 * 720
    return GraphCounts(pixels=pixels, parameters=0, nodes=tuple(nodes), least_bytes=1)


@pytest.fixture
def record(make_record, make_case, make_row):
    speed = SpeedUp(ratio=4.0, low=3.5, high=4.5, rounds=3)
    quality = Quality(psnr_db=None, identical=1.0, max_levels=0)
    ours = make_row("bundle-fp32/onnxruntime", speed_up=speed, quality=quality)
    failed = make_row("compile", (), error="no compiler", error_detail="Traceback")
    counts = describe_counts(graph((10**9, 10**8)), "plain")
    limits = Limits(counts=[counts], roofline_ms={}, verdicts=judge(counts, 1280 * 720))
    case = make_case(
        make_row(), failed, ours, left_out={"eager-fp16": "no GPU"}, limits=limits
    )
    return make_record(case, ceilings=CEILINGS)


def test_a_record_is_read_back_as_it_was_written(record, tmp_path):
    write_record(record, tmp_path / "folder" / "record.json")
    assert read_record(tmp_path / "folder" / "record.json") == record


@pytest.mark.parametrize("write", [text, markdown])
def test_a_row_that_failed_is_a_row_with_its_error(record, write):
    assert "failed: compile: no compiler" in write(record)
    assert "left out: eager-fp16: no GPU" in write(record)


@pytest.mark.parametrize("write", [text, markdown])
def test_what_was_computed_is_not_called_measured(record, write):
    verdicts = [line for line in write(record).splitlines() if "Orin" in line]
    assert len(verdicts) == 4
    assert all("computed, not measured" in line for line in verdicts)


def test_random_weights_are_said(record):
    assert "weights: random (none ship; speed does not depend on them)" in text(record)


def test_the_table_has_no_column_without_a_figure(record):
    head, eager, failed, ours = case_table(record.cases[0])
    assert "J/frame" not in head
    assert failed[:2] == ["compile", "failed"]
    assert ours[head.index("x eager")] == "4.00 [3.50-4.50]"
    assert ours[head.index("PSNR")] == "identical"
    assert eager[head.index("PSNR")] == "-"


def test_warnings_come_before_the_figures(record):
    from dataclasses import replace

    conditions = replace(record.conditions, warnings=["too hot"])
    lines = text(replace(record, conditions=conditions)).splitlines()
    warning = lines.index("warning: too hot")
    assert warning < next(i for i, line in enumerate(lines) if "eager" in line)


def test_the_roofline_adds_up_the_slower_of_arithmetic_and_memory():
    # 0.1 GMAC are 2 ms of arithmetic, 10 MB are 1 ms of memory; then the other way.
    counts = graph((10**8, 10**7), (10**7, 10**8))
    assert rooflines_ms([counts], CEILINGS) == {"cpu-fp32": pytest.approx(2.0 + 10.0)}


def test_the_roofline_is_that_of_the_cheapest_graph():
    cheap, dear = graph((10**8, 0)), graph((10**9, 0))
    assert rooflines_ms([dear, cheap], CEILINGS) == {"cpu-fp32": pytest.approx(2.0)}


def test_without_ceilings_there_is_no_roofline():
    assert rooflines_ms([graph((1, 1))], []) == {}


def test_the_verdict_is_that_of_the_table():
    """64.6 kMAC/px are all that 720p30 leaves on an Orin Nano at 15 W."""
    pixels = 1280 * 720
    counts = describe_counts(graph((64_600 * pixels, 0)), "plain")
    verdicts = {v.module: v for v in judge(counts, pixels)}
    assert verdicts["Orin Nano 8GB 15 W"].arithmetic_percent == pytest.approx(
        100, abs=1
    )
    assert verdicts["AGX Orin 64GB"].arithmetic_percent == pytest.approx(24, abs=1)
    assert verdicts["AGX Orin 64GB"].fits


def test_memory_alone_can_be_too_much():
    counts = describe_counts(graph((1, 4 * 10**9)), "plain")
    verdict = judge(counts, 1280 * 720)[0]
    # 2 GB a frame in FP16, thirty times a second, of 51 GB/s.
    assert verdict.memory_percent == pytest.approx(117.6, abs=0.1)
    assert not verdict.fits
