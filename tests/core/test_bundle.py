"""Bundles that are whole, and every way in which one is not."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest

from derain.core.bundle import Bundle, sha256
from derain.core.errors import BundleError
from derain.core.manifest import FILE_NAME, Golden, Manifest
from derain.core.pictures import write_picture
from derain.core.sizes import Size, SizeRange
from derain.core.states import FRAME_SHAPE, StateSpec

GOLDEN = {
    "input": "golden-input.png",
    "output": "golden-output.png",
    "min_psnr_db": 50,
}
FILES = ["model.onnx", "golden-input.png", "golden-output.png"]


@pytest.fixture
def folder(bundles, tmp_path):
    """A bundle of its own for each test."""
    return shutil.copytree(bundles("darken"), tmp_path / "bundle")


def edit(folder, **fields):
    """Change fields of the manifest; None takes a field out."""
    path = folder / FILE_NAME
    content = json.loads(path.read_text()) | fields
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept))


def test_open_reads_what_was_written(folder, image):
    bundle = Bundle.open(str(folder))
    assert bundle.model_path == folder / "model.onnx"
    assert bundle.manifest.model == "qsnet"
    assert bundle.manifest.sizes == SizeRange.static(Size(64, 48))
    [rainy], [expected] = bundle.golden_clip()
    np.testing.assert_array_equal(rainy, image())
    np.testing.assert_array_equal(expected, image() >> 1)


def test_manifest_survives_being_written(folder, tmp_path):
    manifest = Manifest.read(folder)
    (tmp_path / "copy").mkdir()
    manifest.write(tmp_path / "copy")
    assert Manifest.read(tmp_path / "copy") == manifest


STATES = (
    StateSpec(name="state_0", shape=(1, 8, "height/2", "width/2"), dtype="float32"),
    StateSpec(name="state_1", shape=FRAME_SHAPE, dtype="uint8", start="frame"),
)


def with_states(manifest, **changes):
    """The same bundle with states and a golden clip."""
    names = [f"golden-{kind}-{k}.png" for kind in ("input", "output") for k in range(4)]
    golden = Golden(inputs=tuple(names[:4]), outputs=tuple(names[4:]), min_psnr_db=40)
    files = dict.fromkeys(("model.onnx", *names), "0" * 64)
    network = {"multiple_of": 16, "minimum": 1}
    fields = {"states": STATES, "golden": golden, "files": files, "network": network}
    return dataclasses.replace(manifest, **(fields | changes))


def test_without_states_it_is_written_as_before(folder):
    text = (folder / FILE_NAME).read_text()
    fields = json.loads(text)
    assert text == json.dumps(fields, indent=2) + "\n"
    assert fields["golden"] == GOLDEN
    assert list(fields) == [
        *("schema", "contract", "model", "precision", "target", "sizes", "golden"),
        *("files", "weights", "network", "operators", "fp32_nodes", "passes"),
        *("verification", "tools", "created", "engines"),
    ]
    assert fields["schema"] == 1


def test_states_are_schema_2(folder, tmp_path):
    manifest = with_states(Manifest.read(folder), look_ahead=1)
    manifest.write(tmp_path)
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema"] == 2
    assert Manifest.read(tmp_path) == manifest
    assert manifest.padded(Size(40, 33)) == Size(48, 48)
    assert manifest.state_shapes(Size(40, 33)) == [(1, 8, 24, 24), (1, 33, 40, 3)]


def test_a_golden_clip_is_read_in_order(folder, image):
    manifest = with_states(Manifest.read(folder))
    for k, name in enumerate((*manifest.golden.inputs, *manifest.golden.outputs)):
        write_picture(folder / name, image() >> k)
    files = {
        name: sha256(folder / name)
        for name in ("model.onnx", *manifest.golden.inputs, *manifest.golden.outputs)
    }
    with_states(manifest, files=files).write(folder)
    rainy, expected = Bundle.open(folder).golden_clip()
    for k, frame in enumerate([*rainy, *expected]):
        np.testing.assert_array_equal(frame, image() >> k)
    (folder / "golden-output-3.png").unlink()
    with pytest.raises(BundleError, match=r"damaged: golden-output-3\.png is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": STATES[::-1]}, "states state_1, state_0 are not in order"),
        ({"states": STATES[:1] * 2}, "states state_0, state_0 are not in order"),
        ({"states": (), "look_ahead": 1}, "look_ahead 1 with 0 states"),
        ({"look_ahead": -1}, "look_ahead -1 with 2 states"),
    ],
)
def test_states_that_make_no_sense(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        with_states(Manifest.read(folder), **changes)


def test_fields_of_a_newer_version_are_ignored(folder):
    edit(folder, weather="rain")
    assert Bundle.open(folder).manifest.model == "qsnet"


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"is damaged: {name} has changed"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"is damaged: {name} is missing; export it"):
        Bundle.open(folder)


def test_every_changed_byte_of_the_manifest_is_an_error_or_harmless(folder):
    path = folder / FILE_NAME
    content = path.read_bytes()
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + b"\xff" + content[index + 1 :])
        with pytest.raises(BundleError, match="cannot be read"):
            Bundle.open(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", "", ".", "sub/file", "sub/../../secret"]
)
def test_a_file_outside_the_bundle_is_refused(folder, name):
    (folder.parent / "secret").write_text("secret")
    files = json.loads((folder / FILE_NAME).read_text())["files"]
    edit(folder, files={**files, name: "0" * 64})
    with pytest.raises(BundleError, match=r"leaves the bundle|is damaged"):
        Bundle.open(folder)


def test_a_golden_frame_outside_the_bundle_is_refused(folder):
    (folder.parent / "secret.png").write_text("secret")
    edit(folder, golden=GOLDEN | {"input": "../secret.png"})
    with pytest.raises(BundleError, match=r"no hash for \.\./secret\.png"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"schema": 99},
            "schema 99, this version of derain reads 1 and 2; export again",
        ),
        ({"schema": None}, "has no field 'schema'"),
        ({"model": None}, "'model'"),
        ({"golden": None}, "has no field 'golden'"),
        ({"golden": "x.png"}, "manifest.json: "),
        ({"golden": {"input": "a"}}, "has no field"),
        ({"golden": GOLDEN | {"inputs": ["a"]}}, "has no field 'outputs'"),
        (
            {"golden": GOLDEN | {"inputs": ["a"], "outputs": []}},
            "golden: 1 inputs and 0 outputs",
        ),
        ({"states": [{"name": "state_0"}]}, "has no field 'shape'"),
        ({"states": 3}, "manifest.json: "),
        (
            {"golden": GOLDEN | {"min_psnr_db": math.nan}},
            "min_psnr_db: nan is not",
        ),
        ({"sizes": {"minimum": "1x1"}}, "has no field 'optimum'"),
        ({"sizes": "64x48"}, "manifest.json: "),
        ({"precision": "fp64"}, "precision 'fp64' is not known"),
        ({"target": "abacus"}, "target 'abacus' is not known"),
        ({"files": ["model.onnx"]}, "manifest.json: "),
        ({"files": {}}, "no hash for golden-input.png, golden-output.png, model.onnx"),
    ],
)
def test_a_manifest_that_makes_no_sense(folder, fields, message):
    edit(folder, **fields)
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


@pytest.mark.parametrize("content", ["", "[]", "3", "null", "{", "[" * 100_000])
def test_a_manifest_that_is_none(folder, content):
    (folder / FILE_NAME).write_text(content)
    with pytest.raises(BundleError, match=FILE_NAME):
        Bundle.open(folder)


def test_what_is_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match="made by derain-export, got nothing there"):
        Bundle.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="made by derain-export, got a file"):
        Bundle.open(tmp_path / "file")
    with pytest.raises(BundleError, match=r"it has no manifest\.json; make one with"):
        Bundle.open(tmp_path)
