"""``derain-bench cameras``: it runs, and what it says holds together."""

import json

from click.testing import CliRunner

from derain.benchmarks.cli import main


def test_a_quick_run_of_two_cameras(bundle):
    result = CliRunner().invoke(
        main,
        [
            *("cameras", str(bundle), "--cameras", "2", "--fps", "50", "--rounds", "1"),
            *("--seconds", "0.7", "--max-latency-ms", "5000", "--threads", "1"),
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["cameras"] == 2
    assert set(found["tried"]) >= {"2"}
    assert 0 <= found["carried"] <= 2
    assert 0 < found["one_bytes"] < found["each_bytes"]
    assert found["memory_ratio"] == found["one_bytes"] / found["each_bytes"]
    assert set(found["age_ratios"]) == {"none", "lost", "flood"}
    assert found["throughput_ratios"][0] > 0


def test_a_bundle_that_is_none_is_one_line(tmp_path):
    result = CliRunner().invoke(main, ["cameras", str(tmp_path)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "is not a bundle" in line
