"""`derain.run`: the options of derain-run as keywords."""

import dataclasses
import json
from fractions import Fraction
from typing import get_type_hints

import pytest

from derain.core.bundle import Bundle
from derain.core.errors import BundleError, ConfigError, MediaError
from derain.runtime.pipeline.options import RunKeywords, RunOptions
from derain.runtime.pipeline.run import run


def test_keywords_are_the_options():
    names = [each.name for each in dataclasses.fields(RunOptions)]
    assert list(RunKeywords.__annotations__) == names
    assert list(RunOptions().keywords()) == names
    assert set(get_type_hints(RunOptions)) == set(names)


def test_pictures_into_one_sink_and_into_several(bundles, picture_folder, tmp_path):
    source = picture_folder(count=4)
    report = run(bundles("darken"), source, tmp_path / "out")
    assert report.frames == 4
    assert report.sink == str(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 4
    bundle = Bundle.open(bundles("darken"))
    report = run(bundle, str(source), ["null:", tmp_path / "more"], limit=2)
    assert report.frames == 2
    assert report.sink == f"null:, {tmp_path / 'more'}"
    rows = report.statistics["sinks"]
    assert [row["sink"] for row in rows] == ["null:", str(tmp_path / "more")]


def test_a_report_is_json_and_can_be_printed(bundles, picture_folder):
    report = run(str(bundles("darken")), picture_folder(), "null:")
    values = json.loads(json.dumps(report.as_dict()))
    assert values["model"] == "qsnet"
    assert values["stopped_by"] is None
    assert "frames     3 in" in str(report)
    assert str(report).endswith("result     null:")


def test_it_stops_when_it_is_asked_to(bundles, picture_folder):
    asked = []
    stopped = lambda: asked.append(1) or len(asked) > 2  # noqa: E731
    report = run(bundles("darken"), picture_folder(count=9), "null:", stopped=stopped)
    assert report.frames == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "upside-down"}, "view: 'upside-down' is not one of"),
        ({"gate": "open"}, "gate: 'open' is not one of"),
        ({"fps": 0}, "fps: 0 is not a rate"),
        ({"metrics": "here"}, "metrics: 'here' is not an address"),
    ],
)
def test_senseless_options(bundles, picture_folder, options, message):
    with pytest.raises(ConfigError, match=message):
        run(bundles("darken"), picture_folder(), "null:", **options)


def test_an_option_that_is_none_is_a_type_error(bundles, picture_folder):
    with pytest.raises(TypeError, match="speed"):
        run(bundles("darken"), picture_folder(), "null:", speed=2)


def test_values_may_be_text():
    options = RunOptions(fps="30000/1001", metrics="[::1]:9400")
    assert options.fps == Fraction(30000, 1001)
    assert options.metrics == ("::1", 9400)
    assert RunOptions(fps=12.5).fps == Fraction(25, 2)


def test_without_a_sink_or_a_page_it_does_not_run(bundles, picture_folder):
    with pytest.raises(ConfigError, match="neither a sink nor a preview"):
        run(bundles("darken"), picture_folder())


def test_what_cannot_be_opened_leaves_no_thread_behind(bundles, tmp_path):
    import threading

    before = set(threading.enumerate())
    source = "test://rain?size=64x48&live=1"
    with pytest.raises(BundleError, match="is not a bundle"):
        run(tmp_path / "nothing", source, "null:")
    with pytest.raises(MediaError, match="cannot be written: no folder"):
        run(bundles("darken"), source, tmp_path / "no/out.mp4")
    assert set(threading.enumerate()) <= before


def test_frames_that_came_while_the_network_was_loaded_are_counted(
    bundles, monkeypatch, until
):
    """A camera is read from the start, so that its first frame shown is new."""
    from derain.runtime.pipeline import engine, stream_parts

    captures = []

    class Watched(stream_parts.Capture):
        def __init__(self, source, statistics, **options):
            super().__init__(source, statistics, **options)
            captures.append(statistics)

    def slow(*arguments, **options):
        (statistics,) = captures
        until(lambda: statistics["captured"] >= 5)
        return derainer(*arguments, **options)

    derainer = engine.Derainer
    monkeypatch.setattr(stream_parts, "Capture", Watched)
    monkeypatch.setattr(engine, "Derainer", slow)
    source = "test://rain?size=64x48&live=1&fps=100&seconds=0.05"
    report = run(bundles("darken"), source, "null:", limit=2)
    counts = report.statistics
    assert counts["dropped"] >= 4
    parts = ("derained", "passed_through", "dropped")
    assert counts["captured"] == sum(counts[part] for part in parts)
