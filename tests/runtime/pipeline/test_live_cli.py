"""``derain-run`` with several sinks, views, statistics and metrics."""

import json
import re

import numpy as np
import pytest

from derain.core.pictures import read_picture
from derain.runtime.pipeline.rain_gate import RainGate


def test_two_sinks_get_the_same_frames(invoke, bundles, tmp_path, picture_folder):
    outs = [tmp_path / "a", tmp_path / "b"]
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--json"),
        *("--sink", outs[0], "--sink", outs[1]),
    )
    assert result.exit_code == 0, result.stderr
    names = [sorted(path.name for path in out.iterdir()) for out in outs]
    assert names[0] == names[1] == [f"frame{i}.png" for i in range(3)]
    report = json.loads(result.stdout)
    assert report["sink"] == f"{outs[0]}, {outs[1]}"
    assert [row["written"] for row in report["statistics"]["sinks"]] == [3, 3]


def test_a_sink_that_fails_is_reported_and_the_other_is_whole(
    invoke, bundles, tmp_path, picture_folder
):
    for name in ("in1", "in2"):
        picture_folder(name, count=2)
    result = invoke(
        *(bundles("darken"), "--source", tmp_path / "in*/*", "--sink", "null:"),
        *("--sink", tmp_path / "out"),  # meets names for the second time
    )
    assert result.exit_code == 1
    assert "Error: 1 of 2 sinks failed: two pictures of the source" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("view", "width"), [("side-by-side", 128), ("split", 64), ("rain", 64)]
)
def test_a_video_of_a_view(invoke, bundles, tmp_path, make_video, play, view, width):
    source = make_video(tmp_path / "in.mp4", 5)
    out = tmp_path / "out.mp4"
    result = invoke(
        *(bundles("darken"), "--source", source, "--sink", out, "--view", view),
        *("--overlay", "--crf", "1"),
    )
    assert result.exit_code == 0, result.stderr
    images = play(out).images
    assert [image.shape for image in images] == [(48, width, 3)] * 5


def test_the_decision_of_the_gate_is_in_the_report(
    invoke, bundles, picture_folder, monkeypatch
):
    """The network "identity" takes nothing away: everything is dry."""
    gate = RainGate(clock=lambda: 0.0)  # whose three seconds never pass
    monkeypatch.setattr("derain.runtime.pipeline.stream_parts.RainGate", lambda: gate)
    result = invoke(
        *(bundles("identity"), "--source", picture_folder(count=5), "--sink", "null:"),
        *("--gate", "auto", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    statistics = json.loads(result.stdout)["statistics"]
    assert statistics["gate"] == "rain"  # not dry for long enough
    assert statistics["rain"] == 0
    assert statistics["derained"] == 5


@pytest.mark.parametrize("style", ["json", "text"])
def test_statistics_are_lines_on_standard_error(invoke, bundles, picture_folder, style):
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--sink", "null:"),
        *("--stats", style),
    )
    assert result.exit_code == 0, result.stderr
    line = result.stderr.splitlines()[-1]
    if style == "json":
        values = json.loads(line)
        assert values["captured"] == values["derained"] == 3
        assert values["dropped"] == values["passed_through"] == 0
    else:
        assert re.search(r"3 captured, 3 derained, 0 dropped, 0 passed through", line)


def test_a_bound_on_the_latency_of_a_file_is_noted(invoke, bundles, picture_folder):
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--sink", "null:"),
        *("--max-latency-ms", "1"),
    )
    assert "note: --max-latency-ms is for live sources" in result.stderr
    assert "frames     3 in" in result.stdout


@pytest.mark.parametrize("address", ["8080", ":8080", "host:", "host:99999", "h:x"])
def test_a_senseless_address_is_a_usage_error(invoke, bundles, address):
    result = invoke(
        *(bundles("darken"), "--source", "x", "--sink", "y", "--metrics", address)
    )
    assert result.exit_code == 2
    assert f"'{address}' is not an address such as 127.0.0.1:9400" in result.stderr


def test_pictures_before_and_after_are_both_right(invoke, bundles, tmp_path, image):
    from derain.core.pictures import write_picture

    write_picture(tmp_path / "in.png", image())
    out = tmp_path / "out.png"
    result = invoke(
        *(bundles("darken"), "--source", tmp_path / "in.png", "--sink", out),
        *("--view", "side-by-side"),
    )
    assert result.exit_code == 0, result.stderr
    both = read_picture(out)
    np.testing.assert_array_equal(both[:, :64], image())
    np.testing.assert_array_equal(both[:, 64:], image() >> 1)
