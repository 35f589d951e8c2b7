import json

import pytest
from click.testing import CliRunner

from derain.benchmarks.cli import main
from derain.benchmarks.report.compare import compare_records
from derain.benchmarks.report.record import write_record

BEFORE = ((10.0, 10.2), (10.1, 10.0), (9.9, 10.1), (10.0, 10.0))
SLOWER = tuple(tuple(ms * 1.2 for ms in sample) for sample in BEFORE)
NOISY = ((8.0, 12.0), (11.0, 13.0), (7.0, 9.0), (10.0, 12.0))


@pytest.fixture
def change(make_record, make_case, make_row):
    """What becomes of one row."""

    def get(before, after, **fields):
        old = make_record(make_case(make_row(rounds=before)))
        new = make_record(make_case(make_row(rounds=after, **fields)))
        comparison = compare_records(old, new)
        return comparison.rows[0], comparison

    return get


def test_a_change_beyond_the_noise_is_seen(change):
    row, comparison = change(BEFORE, SLOWER)
    assert row.change == "slower"
    assert row.percent == pytest.approx(20.0)
    assert 0 < row.low_percent <= row.percent <= row.high_percent
    assert comparison.worse_than(15)
    assert not comparison.worse_than(25)


def test_the_other_way_round_it_is_faster(change):
    row, comparison = change(SLOWER, BEFORE)
    assert row.change == "faster"
    assert not comparison.worse_than(0)


def test_noise_is_no_change(change):
    row, comparison = change(BEFORE, NOISY)
    assert row.change == "same"
    assert row.low_percent < 0 < row.high_percent
    assert not comparison.worse_than(0)


def test_of_two_rounds_nothing_is_known(change):
    row, _ = change(BEFORE[:2], SLOWER[:2])
    assert row.change == "unknown"
    assert row.low_percent is None


def test_a_row_that_fails_now_is_broken(change):
    row, comparison = change(BEFORE, (), error="it died")
    assert row.change == "broken"
    assert comparison.worse_than(1000)


def test_rows_that_come_and_go_are_named(make_record, make_case, make_row):
    old = make_record(make_case(make_row("a"), make_row("b")))
    new = make_record(make_case(make_row("b"), make_row("c")))
    rows = compare_records(old, new).rows
    assert [(row.key, row.change) for row in rows] == [
        ("a", "gone"),
        ("b", "same"),
        ("c", "new"),
    ]


def test_another_machine_or_version_is_a_note(make_record):
    from dataclasses import replace

    old = make_record()
    machine = replace(old.machine, device="B", packages={"onnxruntime": "1.32"})
    notes = compare_records(old, replace(old, machine=machine)).notes
    assert notes == [
        "device differs: A board, then B",
        "onnxruntime differs: 1.31.1, then 1.32",
    ]


@pytest.fixture
def files(tmp_path, make_record, make_case, make_row):
    for name, rounds in (("before", BEFORE), ("after", SLOWER)):
        record = make_record(make_case(make_row(rounds=rounds)))
        write_record(record, tmp_path / f"{name}.json")
    return [str(tmp_path / f"{name}.json") for name in ("before", "after")]


@pytest.mark.parametrize(
    ("options", "status"),
    [([], 0), (["--fail-above", "10"], 1), (["--fail-above", "30"], 0)],
)
def test_the_exit_status_says_whether_it_is_worse(files, options, status):
    done = CliRunner().invoke(main, ["compare", *files, *options])
    assert done.exit_code == status
    assert "qsnet 32x24 eager: slower, 10.0 -> 12.0 ms, +20.0 %" in done.output


def test_the_comparison_can_be_read_by_machines(files):
    done = CliRunner().invoke(main, ["compare", *files, "--json"])
    assert json.loads(done.output)["rows"][0]["change"] == "slower"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "its schema is None, wanted 1"),
        ('{"schema": 99}', "its schema is 99, wanted 1"),
        ('{"schema": 1}', "other.json has no cases"),
    ],
)
def test_what_is_no_record_is_one_line(files, tmp_path, content, message):
    other = tmp_path / "other.json"
    other.write_text(content)
    done = CliRunner().invoke(main, ["compare", files[0], str(other)])
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.splitlines()) == 1
