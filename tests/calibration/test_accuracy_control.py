import re
from dataclasses import replace

import numpy as np
import pytest

from derain.calibration.accuracy_control import AccuracyControl, AccuracyLimits
from derain.calibration.layers import find_layers
from derain.calibration.observers import observe
from derain.calibration.options import CalibrationOptions
from derain.calibration.ranges import METHODS
from derain.calibration.scoring import Accuracy, HeldOut, Scorer
from derain.calibration.sensitivity import alone_errors, local_errors, picture_name
from derain.calibration.session import Shot
from derain.core.errors import CalibrationError
from derain.core.metrics import mse_of_psnr


def limits(**changes):
    """What derain-calibrate asks for by default, but for `changes`."""
    default = CalibrationOptions()
    names = ("max_drop_db", "min_psnr_db", "max_flicker")
    return AccuracyLimits(**{name: getattr(default, name) for name in names} | changes)


@pytest.fixture
def make_control(model, rainy, street):
    layers = find_layers(model)
    observations, macs = observe(model, layers, map(Shot, rainy[:6]))
    ranges = {
        name: METHODS["minmax"].find(seen.histogram)
        for name, seen in observations.items()
    }
    held_out = [
        HeldOut(wet, dry, *wet.shape[:2])
        for wet, dry in zip(rainy[6:9], street[6:9], strict=True)
    ]

    def make(changes=None, *, stays=(), **asked):
        return AccuracyControl(
            model,
            [replace(x, stays="is odd" if x.name in stays else "") for x in layers],
            macs,
            ranges=ranges | (changes or {}),
            means=None,
            scorer=Scorer(model, held_out),
            limits=limits(**asked),
        )

    return make


def test_all_layers_are_int8_where_the_picture_allows_it(make_control):
    result = make_control(min_psnr_db=35, max_drop_db=1).run()
    assert len(result.int8) == 4
    assert len(result.curve) == 1
    assert result.curve[0].share == 1.0
    assert result.residuals == {"r0"}


def test_residuals_go_back_to_float_before_layers_do(make_control, monkeypatch):
    def flicker(scorer, model):
        residual = next(n for n in model.graph if n.name == "sum").inputs[1]
        return 1.0, 2.0 if residual.name == "r0_dequantized" else 1.0

    monkeypatch.setattr(Scorer, "flicker", flicker)
    result = make_control(min_psnr_db=35, max_drop_db=1).run()
    assert [(s.layers, s.residuals) for s in result.curve] == [(4, 1), (4, 0)]
    assert not result.residuals


def test_the_layer_that_ruins_the_picture_goes_back_to_float(make_control, said):
    bad = {"r1": 0.02}
    good_db, bad_db = (
        make_control(change, min_psnr_db=1, max_drop_db=9)
        .run()
        .curve[0]
        .accuracy.psnr_db
        for change in ({}, bad)
    )
    assert bad_db < good_db - 3
    wanted = (good_db + bad_db) / 2
    result = make_control(bad, min_psnr_db=wanted, max_drop_db=9).run()
    assert "conv2" not in result.int8  # reads r1
    assert len(result.int8) >= 2
    assert result.curve[0].accuracy.psnr_db < wanted
    assert result.curve[-1].accuracy.psnr_db >= wanted
    # A picture that does not pass as it is needs no look at how it moves.
    assert result.curve[0].accuracy.flicker is None
    assert result.curve[-1].accuracy.flicker is not None
    assert max(result.costs, key=result.costs.__getitem__) == "conv2"
    assert any("one by one" in line for line in said())


def test_what_cannot_pass_is_refused(make_control):
    result = make_control(min_psnr_db=90).run()
    assert re.search(r"wanted 90\.0 dB.*use --fp16", result.refusal)
    assert result.curve[-1].layers == len(result.int8) < result.curve[0].layers


@pytest.mark.parametrize(
    ("stays", "most"),
    [(("conv0", "conv1", "conv2", "conv3"), 0), (("conv0", "conv1", "conv2"), 14)],
)
def test_too_few_layers_are_an_error_before_anything_is_judged(
    make_control, monkeypatch, stays, most
):
    control = make_control(stays=stays, min_psnr_db=1, max_drop_db=9)
    monkeypatch.setattr(Scorer, "score", None)
    said = rf"only {most}% of the multiplications .*\(every other convolution is odd\)"
    with pytest.raises(CalibrationError, match=said):
        control.run()


def test_a_loss_against_the_truth_is_a_reason(make_control):
    asked = limits(max_drop_db=0.15, min_psnr_db=42)
    assert asked.reason(Accuracy(psnr_db=50, float_db=30, int8_db=29.9)) == ""
    assert "0.200 dB" in asked.reason(Accuracy(psnr_db=50, float_db=30, int8_db=29.8))
    assert asked.reason(Accuracy(psnr_db=50)) == ""
    assert "41.0 dB" in asked.reason(Accuracy(psnr_db=41))
    assert asked.reason(Accuracy(psnr_db=float("nan")))


def test_the_score_is_that_of_the_pictures(model, rainy, street):
    part = HeldOut(rainy[0], street[0], 20, 30)
    scorer = Scorer(model, [part])
    score = scorer.score(model)
    assert score.psnr_db == 120.0
    assert score.drop_db == 0.0
    assert score.float_db is not None


def test_what_fills_a_frame_does_not_count(make_control, model, rainy, street):
    clean = street[0].copy()
    clean[20:] = 255
    whole = Scorer(model, [HeldOut(rainy[0], clean, 32, 48)]).score(model)
    part = Scorer(model, [HeldOut(rainy[0], clean, 20, 48)]).score(model)
    assert part.float_db > whole.float_db


def test_layers_go_back_to_float_until_flicker_is_that_of_fp32(
    make_control, monkeypatch
):
    def flicker(scorer, model):
        small = sum(node.op_type == "QuantizeLinear" for node in model.graph)
        return 1.0, 1.0 + 0.1 * small

    monkeypatch.setattr(Scorer, "flicker", flicker)
    result = make_control(min_psnr_db=30, max_drop_db=5, max_flicker=1.15).run()
    assert [step.layers for step in result.curve] == [4, 4, 2]
    assert [step.residuals for step in result.curve] == [1, 0, 0]
    assert result.curve[-1].accuracy.flicker == (1.0, 1.2)
    assert result.costs


def test_flicker_that_no_layer_is_to_blame_for_is_refused(make_control, monkeypatch):
    monkeypatch.setattr(Scorer, "flicker", lambda self, model: (1.0, 1.2))
    result = make_control(min_psnr_db=30, max_drop_db=5).run()
    assert re.search("INT8 flickers.*--max-flicker.*--fp16", result.refusal)


def test_flicker_of_rounding_alone_is_no_reason():
    asked = limits(max_flicker=1.0)
    still = Accuracy(psnr_db=50, flicker=(0.0, 0.04))
    assert asked.reason(still) == ""
    assert "0.40 grey levels" in asked.reason(Accuracy(psnr_db=50, flicker=(0.0, 0.4)))


def test_surplus_is_the_error_that_has_to_go():
    asked = limits(min_psnr_db=42, max_flicker=1.05)
    assert asked.surplus(Accuracy(psnr_db=45), 9.0) < 0
    error = asked.surplus(Accuracy(psnr_db=40), 9.0)
    assert error == pytest.approx(mse_of_psnr(40) - mse_of_psnr(42))
    # 2.15 levels are allowed: of a variance of 1.29 that INT8 adds, 0.6675 is too much.
    restless = Accuracy(psnr_db=45, flicker=(2.0, 2.3))
    assert asked.surplus(restless, 3.0) == pytest.approx(3.0 * 0.6675 / 1.29)
    assert asked.surplus(Accuracy(psnr_db=45, flicker=(2.0, 2.14)), 3.0) < 0


def test_flicker_is_measured_on_a_still_scene(model, rainy):
    scorer = Scorer(model, [HeldOut(rainy[0], None, 32, 48)])
    before, after = scorer.flicker(model)
    assert before == after > 0


def test_no_frame_to_measure_on_is_an_error(model):
    with pytest.raises(CalibrationError, match="no frame left"):
        Scorer(model, [])


def test_local_errors_know_the_layer_with_a_bad_range(model, rainy):
    layers = find_layers(model)
    ranges = dict.fromkeys(("image", "r0", "r1", "r2"), 2.0)
    ranges["r1"] = 200.0
    errors = local_errors(model, layers, ranges, None, map(Shot, rainy[:2]))
    assert max(errors, key=errors.__getitem__) == "conv2"
    assert errors["conv2"] > 20 * errors["conv1"]


def test_alone_errors_are_those_of_the_float_picture(model, rainy):
    ranges = dict.fromkeys(("image", "r0", "r1", "r2"), 2.0)
    fine, rough = (
        alone_errors(model, ["conv1"], ranges | {"r0": reach}, None, [Shot(rainy[0])])
        for reach in (2.0, 20.0)
    )
    assert 0 < fine["conv1"] < rough["conv1"]


def test_the_picture_is_taken_before_it_is_rounded(model):
    assert picture_name(model) == "levels"


def test_no_frames_at_all_is_an_error(model):
    with pytest.raises(CalibrationError, match="random data"):
        observe(model, find_layers(model), [])


def test_observations_are_those_of_the_tensors(model, rainy):
    observations, macs = observe(model, find_layers(model), map(Shot, rainy[:2]))
    image = np.stack(rainy[:2])[..., :] / 255
    seen = observations["image"]
    assert seen.histogram.largest == pytest.approx(image.max(), rel=1e-6)
    assert seen.mean == pytest.approx(image.mean(axis=(0, 1, 2)), rel=1e-5)
    assert seen.histogram.total == image.size
    assert macs["conv0"] == 32 * 48 * 8 * 3 * 9
