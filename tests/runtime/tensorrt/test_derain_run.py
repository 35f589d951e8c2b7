"""``derain-run --backend tensorrt``: what the user sees."""

import json

import numpy as np
import pytest

from derain.core.errors import EngineError
from derain.core.pictures import read_picture
from derain.runtime.tensorrt import open_engine
from support.recording_cuda import RecordingDevice
from support.tensorrt_stand_in import Library

pytest.importorskip("click.testing")


@pytest.fixture
def run(compiled, monkeypatch, invoke, picture_folder, tmp_path):
    """Runs the command on three pictures, with the stand-in and its options."""

    def with_options(**options):
        device = RecordingDevice(**options)
        library = Library(device)
        monkeypatch.setattr(open_engine, "open_device", lambda: device)
        monkeypatch.setattr(open_engine, "open_api", lambda name: library)
        arguments = ("--source", picture_folder(), "--sink", tmp_path / "out")
        result = invoke(compiled(), *arguments, "--backend", "tensorrt", "--json")
        assert device.closed == 1
        return result

    return with_options


def test_pictures_are_derained(run, tmp_path, image):
    result = run()
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["backend"] == "tensorrt 10.3.0, Orin, recording device, copies"
    for index in range(3):
        got = read_picture(tmp_path / "out" / f"frame{index}.png")
        np.testing.assert_array_equal(got, 255 - image(shift=index))
    assert "note" not in result.stderr


def test_a_note_is_shown(run):
    result = run(graphs=False)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("note: recording device has no CUDA graphs") == 1


def test_an_engine_for_another_machine_is_one_line(
    compiled, monkeypatch, invoke, picture_folder, tmp_path
):
    device = RecordingDevice()
    monkeypatch.setattr(open_engine, "open_device", lambda: device)
    monkeypatch.setattr(open_engine, "open_api", lambda name: Library(device))
    folder = compiled(gpu="Thor", compute_capabilities=("11.0",))
    arguments = ("--source", picture_folder(), "--sink", tmp_path / "out")
    result = invoke(folder, *arguments, "--backend", "tensorrt")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "was built for tensorrt 10.3.0, Thor (11.0), " in line
    assert "this is tensorrt 10.3.0, Orin (8.7), " in line
    assert line.endswith(f"; run: derain-compile {folder} --backend tensorrt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_no_gpu_is_one_line(bundles, invoke, picture_folder, tmp_path, name):
    from derain.runtime.cuda.probe import probe

    try:
        probe()
    except EngineError as error:
        expected = str(error)
    else:
        pytest.skip("there is a GPU")
    arguments = ("--source", picture_folder(), "--sink", tmp_path / "out")
    result = invoke(bundles("darken"), *arguments, "--backend", name)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {expected}\n"
    assert not (tmp_path / "out").exists()
