"""Which cameras a file or a command line asks for, and what it must not ask for."""

import pytest

from derain.core.config_file import read_toml
from derain.core.errors import ConfigError
from derain.runtime.pipeline.cameras import cameras_in, cameras_of_pairs
from derain.runtime.pipeline.options import CameraOptions

COMMON = CameraOptions(max_latency_ms=150, gate="auto")


@pytest.fixture
def read(tmp_path):
    """The cameras in a TOML text."""

    def cameras(text, need_sinks=True):
        path = tmp_path / "cameras.toml"
        path.write_text(text)
        tables = read_toml(path).get("camera")
        return cameras_in("cameras.toml", tables, COMMON, need_sinks=need_sinks)

    return cameras


def camera(name, sink='"null:"', more=""):
    return f'[[camera]]\nname = "{name}"\nsource = "x.mp4"\nsink = {sink}\n{more}\n'


def test_a_camera_has_its_own_options_and_those_of_all(read):
    own = "max-latency-ms = 80\npriority = 2\nlate = 'slow'\nresize = true"
    yard, gate = read(camera("yard", '["a.mp4", "null:"]', own) + camera("gate"))
    assert (yard.name, yard.source, yard.sinks) == ("yard", "x.mp4", ("a.mp4", "null:"))
    options = yard.options
    assert (options.max_latency_ms, options.priority, options.late) == (80, 2, "slow")
    assert (options.resize, options.gate) == (True, "auto")
    assert gate.options == COMMON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            camera("a") + camera("a"),
            r"^cameras.toml: two cameras are called 'a'; give each its own name$",
        ),
        (
            camera("a", '"o.mp4"') + camera("b", '["./o.mp4?codec=hevc"]'),
            r"^cameras.toml: a and b both write to ./o.mp4\?codec=hevc; give each",
        ),
        (
            camera("a", '"rtsp://u:p@h/x"') + camera("b", '"rtsp://u:p@h/x"'),
            r"^cameras.toml: a and b both write to rtsp://h/x; give each",
        ),
        (
            camera("a", '"x.mp4"'),
            r"^cameras.toml: a writes to x.mp4, which a reads; choose another sink$",
        ),
        (camera("a b"), r"^cameras.toml: 'a b' is no name for a camera; wanted"),
        (camera("a", "[]"), r"^cameras.toml: a has no sink, and there is no preview$"),
        (
            camera("a", more="metrics = '127.0.0.1:1'"),
            r"^cameras.toml, camera 1 has an unknown key 'metrics'; wanted crf, ",
        ),
        (
            camera("a") + camera("b", more="max-latency-ms = -1"),
            r"^cameras.toml, camera 2: Invalid value for '--max-latency-ms'",
        ),
        ('[[camera]]\nname = "a"', r"^cameras.toml, camera 1: Missing option '--sour"),
        ("camera = []", r"^cameras.toml has no \[\[camera\]\] tables$"),
        ("camera = 3", r"^cameras.toml: camera is no table, wanted \[\[camera\]\]"),
        ("camera = [3]", r"^cameras.toml, camera 1 is 3, wanted a table$"),
    ],
)
def test_what_cannot_be_followed_is_one_line(read, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_two_may_measure_only_and_a_page_is_enough(read):
    assert len(read(camera("a") + camera("b"))) == 2
    (lone,) = read(camera("a", "[]"), need_sinks=False)
    assert lone.sinks == ()


def pairs(sources, sinks):
    return cameras_of_pairs(sources, sinks, COMMON, need_sinks=True)


def test_pairs_belong_together_by_name():
    yard, gate = pairs(
        ["yard=rtsp://h/1?a=b", "gate=in.mp4"],
        ["gate=out.mp4", "yard=null:", "yard=y.mp4"],
    )
    assert (yard.source, yard.sinks) == ("rtsp://h/1?a=b", ("null:", "y.mp4"))
    assert (gate.source, gate.sinks) == ("in.mp4", ("out.mp4",))
    assert yard.options == COMMON


@pytest.mark.parametrize(
    ("sources", "sinks", "message"),
    [
        (
            ["a=x", "rtsp://u:p@h/s"],
            [],
            r"^--source rtsp://h/s has no name; of several",
        ),
        (["a=x", "b="], [], r"^--source b= has no name"),
        (["a=x", "b=y"], ["null:"], r"^--sink null: has no name; .* --sink yard=PATH$"),
        (["a=x", "b=y"], ["c=null:"], r"^--sink c=null: is of no camera; .* of a, b$"),
        (["a=x", "a=y"], ["a=null:"], r"two cameras are called 'a'"),
        (["a=x", "b=y"], ["a=null:"], r"b has no sink"),
        (["a=x", "b=y"], ["a=o.png", "b=o.png"], r"a and b both write to o.png"),
    ],
)
def test_pairs_that_make_no_sense(sources, sinks, message):
    with pytest.raises(ConfigError, match=message):
        pairs(sources, sinks)
