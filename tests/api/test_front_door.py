"""`import derain`: what a user types first."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import derain

SIZE = (48, 32)


def test_every_name_of_the_front_door_is_there():
    pytest.importorskip("torch", reason="exporting needs derain[export]")
    for name in derain.__all__:
        assert getattr(derain, name) is not None, name
    assert set(derain.__all__) <= set(dir(derain))


def test_what_type_checkers_see_is_what_there_is():
    tree = ast.parse(Path(derain.__file__).read_text(encoding="utf-8"))
    seen = {"__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("derain."):
            seen |= {alias.asname or alias.name for alias in node.names}
    assert seen - {"load_name"} == set(derain.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'dehaze'"):
        _ = derain.dehaze


@pytest.mark.parametrize("first", ["derain.export.pipeline", "derain.models.registry"])
def test_rooms_stay_callable_whatever_is_imported_first(first):
    pytest.importorskip("torch", reason="exporting needs derain[export]")
    code = f"import {first}, derain; print(callable(derain.export), derain.models())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("True {'qsnet': ")


def test_models_are_listed_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import derain; print(*derain.models()); print(derain.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    names, version = done.stdout.splitlines()
    assert {"qsnet", "granet", "dcsfn", "stagewise", "treefusion"} <= set(names.split())
    assert version


def test_the_ten_lines(net, rainy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = derain.export(net, size=SIZE)
    assert isinstance(bundle, derain.Bundle)
    assert bundle.folder == Path("small-fp32-48x32")
    with derain.load(bundle) as model:
        clean = model(rainy[0]).copy()  # the next call has the same place
        assert (clean.shape, clean.dtype) == (rainy[0].shape, np.uint8)
        streamed = [frame.copy() for frame in model.stream(rainy)]
    np.testing.assert_array_equal(streamed[0], clean)
    assert len(streamed) == len(rainy)
    report = derain.run(
        str(bundle.folder), source="test://rain?size=48x32&seconds=1", sinks="out/"
    )
    assert report.frames == 24
    assert len(list(Path("out").iterdir())) == 24


def test_int8_of_frames_at_hand(net, rainy, tmp_path):
    bundle = derain.export(
        net,
        size=SIZE,
        precision="int8",
        calibrate_on=rainy,
        calibration_frames=4,
        output=str(tmp_path / "int8"),
    )
    assert bundle.manifest.precision == "int8"


def test_errors_are_ours_and_one_line(net):
    with pytest.raises(derain.DerainError, match="unknown model 'dehaze'") as error:
        derain.export("dehaze")
    assert "\n" not in str(error.value)
    with pytest.raises(derain.BundleError, match="is not a bundle"):
        derain.load("nowhere")
