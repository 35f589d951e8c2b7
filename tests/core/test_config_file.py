"""Options from a TOML file: the same checks, and the command line wins."""

import json
import re

import pytest

from derain.core.pictures import read_picture


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def test_everything_may_be_in_the_file(
    invoke, bundles, config, tmp_path, picture_folder
):
    text = f"""
        bundle = "{bundles("darken")}"
        source = "{picture_folder()}"
        sink = ["null:", "{tmp_path / "out"}"]
        limit = 2
        quiet = true
        json = true
        view = "rain"
        max-latency-ms = 100.5
    """
    result = invoke("--config", config(text))
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["frames"] == 2
    assert len(report["statistics"]["sinks"]) == 2
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert read_picture(tmp_path / "out" / "frame0.png").shape == (48, 64, 3)


def test_the_command_line_wins(invoke, bundles, config, picture_folder):
    text = f'source = "{picture_folder()}"\nsink = "null:"\nlimit = 2\njson = true'
    result = invoke(bundles("darken"), "--config", config(text), "--limit", "1")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colour = 1",
            "run.toml has an unknown key 'colour'; wanted backend, bundle, ",
        ),
        ("max_latency_ms = 1", "unknown key 'max_latency_ms'"),
        ("config = 'other.toml'", "unknown key 'config'"),
        ("resize = 'yes'", "resize is 'yes', wanted true or false"),
        ("limit = true", "limit is True, wanted a string or a number"),
        ("limit = [1]", r"limit is \[1\], wanted a string or a number"),
        ("[sink]", "sink is {}, wanted a string or a number"),
        ("limit = ", "run.toml is not TOML: "),
    ],
)
def test_what_does_not_fit_is_one_line(invoke, bundles, config, text, message):
    result = invoke(bundles("darken"), "--config", config(text))
    assert result.exit_code == 1
    assert re.fullmatch(rf"Error: .*{message}.*\n", result.stderr), result.stderr


def test_values_are_checked_as_on_the_command_line(invoke, bundles, config):
    text = 'source = "x"\nsink = "null:"\nlate = "never"'
    result = invoke(bundles("darken"), "--config", config(text))
    assert result.exit_code == 2
    assert "'never' is not one of 'drop', 'pass'" in result.stderr


def test_a_file_that_is_not_there(invoke, tmp_path):
    result = invoke("--config", tmp_path / "no.toml")
    assert result.exit_code == 1
    assert "no.toml cannot be read: No such file or directory" in result.stderr
