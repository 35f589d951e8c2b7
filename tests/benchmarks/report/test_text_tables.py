import json

import pytest

from derain.benchmarks.analysis.limits import (
    JETSONS,
    GraphCost,
    NetworkLimits,
    jetson_verdicts,
)
from derain.benchmarks.analysis.roofline import RooflinePeak
from derain.benchmarks.latency.percentiles import SpeedUp
from derain.benchmarks.report.record import Quality, read_record, write_record
from derain.benchmarks.report.text_tables import (
    case_table,
    comma_separated,
    latex,
    markdown,
    text,
)

CEILINGS = [
    RooflinePeak(
        device="cpu", kind="copy", precision="fp32", giga_per_s=10.0, library="NumPy"
    )
]
COST = GraphCost(
    graph="plain",
    kmac_per_px=1.0,
    parameters=0,
    moved_bytes=10**8,
    least_bytes=1,
    flop_per_byte=20.0,
)


@pytest.fixture
def record(make_record, make_case, make_row):
    speed = SpeedUp(ratio=4.0, low=3.5, high=4.5, rounds=3)
    quality = Quality(psnr_db=None, identical=1.0, max_levels=0)
    ours = make_row("bundle-fp32/onnxruntime", speed_up=speed, quality=quality)
    failed = make_row("compile", (), error="no compiler", error_detail="Traceback")
    verdicts = jetson_verdicts(COST, 1280 * 720)
    limits = NetworkLimits(counts=[COST], roofline_ms={}, verdicts=verdicts)
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
    assert len(verdicts) == sum("Orin" in jetson.name for jetson in JETSONS)
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


def test_a_quick_record_says_so(record):
    from dataclasses import replace

    quick = replace(record, quick=True)
    for write in (text, markdown, str):
        assert "warning: quick: few rounds" in write(quick)
        assert "quick" not in write(record)
    assert latex(quick).startswith("% qsnet, 32x24, A board, quick\n")


def test_figures_are_written_unrounded(record, make_record):
    lines = comma_separated(record).splitlines()
    head = lines[0].split(",")
    ours = dict(zip(head, lines[3].split(","), strict=True))
    assert ours["row"] == "bundle-fp32/onnxruntime"
    assert (ours["median_ms"], ours["speed_up"], ours["identical"]) == (
        *("10.0", "4.0", "1.0"),
    )
    assert ours["psnr_db"] == ours["joules_per_frame"] == ""  # identical; no meter
    assert "no compiler" in lines[2]
    assert comma_separated(make_record()).count("\n") == 1


def test_printing_a_record_prints_its_tables(record):
    assert str(record) == text(record)


def test_a_record_without_any_figure_says_why(record, make_record, make_case, make_row):
    assert record.failure is None
    failed = make_row("a", (), error="no memory")
    none = make_record(make_case(failed))
    assert none.failure == "every row failed, the first, a: no memory"
    assert "left out" in make_record(make_case()).failure


def test_what_is_remembered_is_in_the_table(make_record, make_case, make_row):
    ours = make_row("bundle a/onnxruntime", state_bytes=14_700_000, look_ahead=2)
    record = make_record(make_case(ours, make_row("bundle b/onnxruntime")))
    head, first, second = case_table(record.cases[0])
    column = head.index("states MB")
    assert (first[column], second[column]) == ("14.7", "-")
    assert "bundle a/onnxruntime: pictures come 2 frames late (look-ahead)" in text(
        record
    )
    lines = comma_separated(record).splitlines()
    values = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert (values["state_bytes"], values["look_ahead"]) == ("14700000", "2")


def test_without_a_memory_there_is_no_column(make_case, make_row):
    assert "states MB" not in case_table(make_case(make_row()))[0]


def test_bundles_alone_are_held_against_the_first(make_record, make_case, make_row):
    slow = make_row("bundle b/onnxruntime", rounds=((20.0, 22.0), (20.0, 24.0)))
    record = make_record(make_case(make_row("bundle a/onnxruntime"), slow))
    assert (
        "bundle a/onnxruntime is 2.00 [2.00-2.00] times as fast as "
        "bundle b/onnxruntime" in text(record)
    )


def test_a_record_of_before_has_no_memory(record, tmp_path):
    """The committed records are read as they are."""
    path = tmp_path / "record.json"
    write_record(record, path)
    fields = json.loads(path.read_text())
    for row in fields["cases"][0]["rows"]:
        del row["state_bytes"], row["look_ahead"]
    path.write_text(json.dumps(fields))
    assert read_record(path) == record
