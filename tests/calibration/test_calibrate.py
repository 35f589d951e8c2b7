"""``derain.calibrate``: bundles and frames of every form, and what must not be lost."""

import numpy as np
import onnx_ir as ir
import pytest

from derain.calibration.calibrate import calibrate
from derain.calibration.calibration_file import Calibration
from derain.core.bundle import Bundle
from derain.core.errors import CalibrationError, ShapeError
from support.calibrating import LOOSE, calibrated, weight_of


def test_a_uri_gives_what_arrays_do(bundle, rainy, footage, tmp_path):
    folder = bundle()
    output = tmp_path / "c.json"
    of_uri = calibrate(str(folder), str(footage), output=str(output), **LOOSE)
    assert Calibration.read(output) == of_uri
    of_arrays = calibrate(Bundle.open(folder), iter(rainy), **LOOSE)
    assert of_arrays.frames["source"] == "12 frames given as arrays"
    assert of_arrays.frames["sha256"] == of_uri.frames["sha256"]
    assert of_arrays.ranges == of_uri.ranges


def test_arrays_of_mixed_sizes_are_fitted(bundle, rainy):
    frames = [rainy[0], *(np.tile(x, (2, 2, 1)) for x in rainy[1:5]), rainy[5][:20]]
    made = calibrate(bundle(), frames, **LOOSE)
    assert made.frames["resized"]
    assert made.frames["seen"] == 6


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((32, 48, 3), np.float32), r"\(32, 48, 3\) float32"),
        (np.zeros((32, 48), np.uint8), r"\(32, 48\) uint8"),
        (np.zeros((0, 48, 3), np.uint8), r"\(0, 48, 3\) uint8"),
        ("0.png", "str"),
    ],
)
def test_what_is_no_frame_is_one_line(bundle, rainy, array, got):
    with pytest.raises(ShapeError, match=f"frame 1: expected .*, got {got}$"):
        calibrate(bundle(), [rainy[0], array])


def test_no_arrays_at_all_are_one_line(bundle):
    with pytest.raises(CalibrationError, match="0 frames given as arrays has 0 diff"):
        calibrate(bundle(), [])


def test_footage_and_bundle_are_never_overwritten(bundle, footage):
    folder = bundle()
    for path in (footage / "0.png", folder / "model.onnx"):
        before = path.read_bytes()
        with pytest.raises(CalibrationError, match="is what is read"):
            calibrate(folder, footage, output=path, force=True, **LOOSE)
        assert path.read_bytes() == before


def test_a_report_of_others_stays_without_force(bundle, footage, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "report.txt").write_text("of somebody else")
    options = LOOSE | {"report": tmp_path}
    with pytest.raises(CalibrationError, match=r"report\.txt exists.*--force"):
        calibrate(bundle(), footage, **options)
    assert [p.name for p in tmp_path.glob("*.*")] == ["report.txt"]
    calibrate(tmp_path / "fp32", footage, force=True, **options)
    assert (tmp_path / "report.txt").read_text().startswith("layers")
    assert (tmp_path / "frames.jpg").is_file()


def test_auto_is_at_least_as_good_as_each_method(model, footage):
    found = {
        method: calibrated(model, footage, method=method).curve[-1]["psnr_db"]
        for method in ("auto", "minmax", "entropy")
    }
    # It was chosen on other frames than it is measured on.
    assert found["auto"] >= max(found.values()) - 0.5


def test_nan_weights_are_one_line(model, footage):
    value = weight_of(model)
    array = np.full_like(value.const_value.numpy(), np.nan)
    value.const_value = ir.tensor(array, name=value.name)
    with pytest.raises(CalibrationError, match="r1 is not finite"):
        calibrated(model, footage)
