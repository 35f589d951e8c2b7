"""``derain-run`` with several cameras, in a process of its own and in this one."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from derain.core.config_file import read_toml
from derain.core.pictures import write_picture

LIVE = "test://rain?size=64x48&fps=50&live=1&seconds=0.1"


@pytest.fixture
def write(tmp_path, bundles):
    """Writes ``cameras.toml``: ``write(name=(source, sink), ...)``."""

    def toml(more="", **cameras):
        path = tmp_path / "cameras.toml"
        lines = [f'bundle = "{bundles("any")}"', more]
        for name, (source, sink) in cameras.items():
            lines += ["[[camera]]", f'name = "{name}"', f'source = "{source}"']
            lines += [f'sink = "{sink}"']
        path.write_text("\n".join(lines))
        return path

    return toml


def test_cameras_of_a_file(invoke, write, tmp_path, picture_folder):
    one, two = picture_folder("one", 3), picture_folder("two", 5)
    path = write(a=(one, tmp_path / "out-a"), b=(two, tmp_path / "out-b"))
    result = invoke("--config", path, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["frames"] == 8
    assert {name: row["frames"] for name, row in report["cameras"].items()} == {
        "a": 3,
        "b": 5,
    }
    assert len(list((tmp_path / "out-b").iterdir())) == 5


def test_cameras_of_pairs(invoke, bundles, tmp_path, picture_folder):
    one, two = picture_folder("one", 3), picture_folder("two", 2)
    result = invoke(
        *(bundles("any"), "--source", f"a={one}", "--source", f"b={two}"),
        *("--sink", f"b={tmp_path / 'b'}", "--sink", "a=null:", "--stats", "json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "5 frames in" in result.stdout
    assert len(list((tmp_path / "b").iterdir())) == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["camera"] for line in lines[-2:]] == ["a", "b"]


def test_one_that_fails_is_exit_status_3_and_the_others_are_whole(
    invoke, write, tmp_path, picture_folder, image
):
    good, bad = picture_folder("good", 4), picture_folder("bad", 3)
    (bad / "frame1.png").write_bytes(b"no picture")
    path = write(good=(good, tmp_path / "out"), bad=(bad, "null:"))
    result = invoke("--config", path)
    assert result.exit_code == 3
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert re.search(r"^note: bad: .*frame1.png.*; the other cam", result.stderr, re.M)
    assert "Error: 1 of 2 cameras failed: bad" in result.stderr


def test_where_all_cameras_fail_the_exit_status_is_1(
    invoke, bundles, tmp_path, picture_folder
):
    one, two = picture_folder("one", 3), picture_folder("two", 3)
    for folder in (one, two):
        (folder / "frame1.png").write_bytes(b"no picture")
    result = invoke(
        *(bundles("any"), "--source", f"a={one}", "--source", f"b={two}"),
        *("--sink", f"a={tmp_path / 'out'}", "--sink", "b=null:"),
    )
    assert result.exit_code == 1
    assert "Error: 2 of 2 cameras failed: " in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_is_json_where_that_is_asked_for(
    invoke, bundles, tmp_path, picture_folder, as_json
):
    folder = picture_folder("in", 3)
    (folder / "frame2.png").write_bytes(b"no picture")
    arguments = [bundles("darken"), "--source", folder, "--sink", tmp_path / "out"]
    result = invoke(*arguments, *(["--json"] if as_json else []))
    assert result.exit_code == 1
    if as_json:
        values = json.loads(result.stdout)
        assert (values["frames"], values["exit_status"]) == (2, 1)
        assert "frame2.png" in values["error"]
    else:
        assert result.stdout == ""
    result = invoke(
        *(bundles("darken"), "--source", tmp_path / "nothing.png"),
        *("--sink", "null:", "--json"),
    )
    assert result.exit_code == 1
    values = json.loads(result.stdout)
    assert "nothing.png" in values["error"]
    assert values["exit_status"] == 1


def test_the_summary_counts_what_was_dropped(invoke, bundles, tmp_path, image):
    write_picture(tmp_path / "in.png", image())
    result = invoke(
        bundles("darken"), "--source", tmp_path / "in.png", "--sink", "null:"
    )
    assert "dropped    0 of 1" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "missing option '--source'"),
        (("--source", "a=x", "--source", "y", "--sink", "a=null:"), 2, "has no name"),
        (("--source", "a=x", "--source", "a=y"), 2, "missing option '--sink'"),
    ],
)
def test_pairs_that_make_no_sense_are_usage_errors(
    invoke, bundles, arguments, status, message
):
    result = invoke(bundles("any"), *arguments)
    assert result.exit_code == status
    assert message in result.stderr


def test_a_file_with_cameras_takes_no_sources_beside(invoke, write):
    path = write(a=(LIVE, "null:"))
    result = invoke("--config", path, "--source", "x", "--sink", "null:")
    assert result.exit_code == 2
    assert "has [[camera]] tables: --source and --sink go there" in result.stderr


def test_a_hangup_reads_the_file_again(write, tmp_path, until):
    """Added, taken out, kept where the file is broken; then SIGTERM."""
    every = "stats = 'json'\nstats-every = 0.1"
    path = write(every, a=(LIVE, "null:"))
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "derain.runtime.cli", "--config", str(path)],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )

    def seen():
        return errors.read_text()

    def cameras():
        rows = [json.loads(x) for x in seen().splitlines() if x.endswith("}")][-2:]
        return [row["camera"] for row in rows if row["derained"] > 3]

    with process:
        try:
            until(lambda: cameras() == ["a", "a"])
            write(every, a=(LIVE, "null:"), b=(LIVE, "null:"))
            process.send_signal(signal.SIGHUP)
            until(lambda: cameras() in (["a", "b"], ["b", "a"]))
            assert "1 cameras go on, 0 were closed, 1 opened" in seen()
            path.write_text("[[camera")
            process.send_signal(signal.SIGHUP)
            until(lambda: "is not TOML" in seen())
            write(every, b=(LIVE, "null:"))
            process.send_signal(signal.SIGHUP)
            until(lambda: cameras() == ["b", "b"])
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 143
    assert "cameras go on as before" in seen()
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["a", "b"]


DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not beside these tests")
@pytest.mark.parametrize("name", ["run.toml", "cameras.toml"])
def test_the_files_in_the_documents_can_be_followed(
    name, invoke, bundles, tmp_path, picture_folder
):
    """But for the bundle, the addresses and the cameras, which are nobody's."""
    text = (DOCS / name).read_text()
    content, folder = read_toml(DOCS / name), picture_folder(count=5)
    for table in [content, *content.get("camera", [])]:
        for sink in table.get("sink", []):
            text = text.replace(f'"{sink}"', '"null:"')
        if "source" in table:
            text = text.replace(table["source"], str(folder))
    for key in ("metrics", "preview"):
        text = text.replace(f'{key} = "{content[key]}"', f'{key} = "127.0.0.1:0"')
    text = text.replace(content["bundle"], str(bundles("any")))
    path = tmp_path / name
    path.write_text(text)
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    result = invoke("--config", path)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"frames +5 in|10 frames in", result.stdout)


@pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not beside these tests")
def test_the_board_asks_for_metrics_that_there_are():
    from derain.runtime.telemetry.prometheus import prometheus_text
    from derain.runtime.telemetry.statistics import About, SinkStatistics, Statistics

    statistics = Statistics()
    statistics.about = About(source="s", bundle="b", backend="o", version="1")
    statistics.load, statistics.rain = 0.5, 1.0
    statistics.sinks.append(SinkStatistics("null:"))
    known = set(re.findall("# TYPE (derain_[a-z_]+)", prometheus_text(statistics)))
    known |= {"derain_temperature_celsius", "derain_power_watts"}  # of a Jetson
    board = json.loads((DOCS / "grafana.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall("derain_[a-z_]+", target["expr"])
    }
    assert asked <= known
    assert len(asked) > 10
