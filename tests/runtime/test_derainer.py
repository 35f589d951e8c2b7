import contextlib
import json
import shutil

import numpy as np
import pytest

from derain.core.bundle import sha256
from derain.core.errors import EngineError, ShapeError, UnknownNameError
from derain.core.manifest import FILE_NAME
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.runtime import Bundle, Derainer
from derain.runtime.derainer import load


@pytest.fixture
def opened(bundles):
    with contextlib.ExitStack() as stack:

        def open_bundle(name, **options):
            derainer = Derainer(Bundle.open(bundles(name)), **options)
            return stack.enter_context(contextlib.closing(derainer))

        yield open_bundle


def test_derain_runs_the_graph(opened, image):
    derainer = opened("darken", threads=1)
    np.testing.assert_array_equal(derainer.derain(image()), image() >> 1)
    assert derainer.golden_psnr_db == np.inf
    assert derainer.description.startswith("onnxruntime ")
    assert derainer.description.endswith(", CPUExecutionProvider, 1 thread")


def test_derain_takes_views_that_are_not_contiguous(opened, image):
    flipped = image()[:, ::-1]
    np.testing.assert_array_equal(opened("darken").derain(flipped), flipped >> 1)


def test_a_dynamic_bundle_takes_its_range(opened, image):
    derainer = opened("dynamic")
    for size in (Size(32, 32), Size(128, 40)):
        assert derainer.derain(image(size)).shape == (size.height, size.width, 3)
    with pytest.raises(
        ShapeError, match="frame is 129x40, the bundle takes 32x32,64x48"
    ):
        derainer.derain(image(Size(129, 40)))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
    ids=["grey", "alpha", "float"],
)
def test_derain_rejects_what_is_no_frame(opened, frame):
    with pytest.raises(ShapeError, match=r"wanted \(H, W, 3\) uint8 BGR"):
        opened("darken").derain(frame)


def test_a_derainer_is_called_in_a_with_statement_and_takes_a_path(bundles, image):
    with load(str(bundles("darken")), threads=1) as model:
        assert model.backend == "onnxruntime"
        np.testing.assert_array_equal(model(image()), image() >> 1)
        model.reset()  # it has no memory: nothing is done
        frames = [image(shift=shift) for shift in range(3)]
        for frame, clean in zip(frames, model.stream(frames), strict=True):
            np.testing.assert_array_equal(clean, frame >> 1)
    model.close()


def test_close_twice_is_harmless(opened):
    derainer = opened("darken")
    derainer.close()
    derainer.close()


def test_a_wrong_golden_frame_is_found_on_load(bundles):
    with pytest.raises(EngineError, match=r"self-test failed: .* dB from the expected"):
        Derainer(Bundle.open(bundles("wrong-golden")))


def test_an_unknown_backend_lists_the_known_ones(bundles):
    with pytest.raises(UnknownNameError, match="choose from auto, onnxruntime, onn"):
        Derainer(Bundle.open(bundles("darken")), backend="magic")


def replace(bundle, name, content, tmp_path):
    """A copy of `bundle` with another file, whose hash is right."""
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / name).write_bytes(content)
    path = folder / FILE_NAME
    manifest = json.loads(path.read_text())
    manifest["files"][name] = sha256(folder / name)
    path.write_text(json.dumps(manifest))
    return Bundle.open(folder)


def test_a_graph_that_does_not_load_is_one_line(bundles, tmp_path):
    bundle = replace(bundles("darken"), "model.onnx", b"not a graph", tmp_path)
    with pytest.raises(EngineError, match=r"model\.onnx does not load: ") as caught:
        Derainer(bundle)
    assert "\n" not in str(caught.value)


def test_a_golden_frame_of_another_size_is_the_bundles_fault(bundles, tmp_path):
    write_picture(tmp_path / "small.png", np.zeros((8, 8, 3), np.uint8))
    content = (tmp_path / "small.png").read_bytes()
    for name in ("golden-input.png", "golden-output.png"):
        bundle = replace(bundles("darken"), name, content, tmp_path / name)
        with pytest.raises(EngineError, match="self-test failed: "):
            Derainer(bundle)
