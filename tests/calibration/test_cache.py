"""Nothing is measured twice, and nothing old is taken for new."""

import datetime
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from derain.calibration import cache, calibrate
from derain.calibration.cache import Cache, graph_hash, key_of
from derain.calibration.scoring import HeldOut
from derain.core.errors import CalibrationError
from derain.core.pictures import write_picture
from support.calibrating import calibrated, change_a_weight


class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2099, 1, 1, tzinfo=tz)


@pytest.fixture
def measured_again(monkeypatch):
    """Makes measuring an error."""

    def forbid():
        def fail(*_, **__):
            raise AssertionError("measured again")

        monkeypatch.setattr("derain.calibration.calibrate.observe", fail)
        monkeypatch.setattr("derain.calibration.calibrate.Scorer", fail)

    return forbid


def test_a_second_run_measures_nothing(model, footage, measured_again):
    first = calibrated(model, footage)
    measured_again()
    again = calibrated(model, footage)
    assert replace(again, created="") == replace(first, created="")


def test_what_was_refused_is_refused_again(model, footage, measured_again):
    with pytest.raises(CalibrationError) as first:
        calibrated(model, footage, min_psnr_db=110)
    measured_again()
    with pytest.raises(CalibrationError, match=r"wanted 110\.0 dB") as again:
        calibrated(model, footage, min_psnr_db=110)
    assert str(again.value) == str(first.value)


def test_what_is_found_says_where_the_frames_came_from_now(
    model, footage, tmp_path, measured_again, monkeypatch
):
    first = calibrated(model, footage)
    shutil.copytree(footage, tmp_path / "elsewhere")
    measured_again()
    monkeypatch.setattr(
        calibrate,
        "datetime",
        SimpleNamespace(datetime=Later, timezone=datetime.timezone),
    )
    again = calibrated(model, tmp_path / "elsewhere")
    assert again.frames["sha256"] == first.frames["sha256"]
    assert "elsewhere" in again.frames["source"]
    assert again.created.startswith("2099")


def test_other_pairs_are_measured_again(model, footage, rainy, street):
    def drops(count, clean):
        pairs = (HeldOut(rainy[k], clean[k], 32, 48) for k in range(count))
        made = calibrated(model, footage, pairs)
        return made.frames["pairs"], made.curve[-1]["float_db"]

    none, one, other = drops(0, street), drops(1, street), drops(1, rainy)
    assert none == (0, None)
    assert one[0] == other[0] == 1
    assert other[1] != one[1] is not None


def test_another_method_looks_at_the_same_histograms(model, footage, monkeypatch):
    calibrated(model, footage)
    monkeypatch.setattr("derain.calibration.calibrate.observe", None)
    assert calibrated(model, footage, method="mse").method == "mse"


def test_other_weights_are_measured_again(model, footage):
    first = calibrated(model, footage)
    change_a_weight(model)
    assert calibrated(model, footage).graph != first.graph


def test_other_frames_and_limits_are_measured_again(model, footage, rainy, tmp_path):
    first = calibrated(model, footage)
    (tmp_path / "less").mkdir()
    for k, frame in enumerate(rainy[:8]):
        write_picture(tmp_path / "less" / f"{k}.png", frame)
    less = calibrated(model, tmp_path / "less")
    assert less.frames["sha256"] != first.frames["sha256"]
    with pytest.raises(CalibrationError, match=r"wanted 110\.0 dB"):
        calibrated(model, footage, min_psnr_db=110)


@pytest.mark.parametrize("text", ["{}", "[]"])
def test_a_damaged_cache_is_measured_again(model, footage, own_cache, text):
    first = calibrated(model, footage)
    for path in own_cache.iterdir():
        path.write_text(text)
    again = calibrated(model, footage)
    assert replace(again, created="") == replace(first, created="")


def test_keys_follow_all_they_are_made_of(model):
    before = graph_hash(model)
    assert graph_hash(model.clone()) == before
    assert key_of("a", before) != key_of("b", before)
    assert key_of("ab", "c") != key_of("a", "bc")
    change_a_weight(model)
    assert graph_hash(model) != before


def test_keys_follow_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    monkeypatch.setattr(cache.rain, "__file__", str(tmp_path / "rain" / "rain.py"))
    (tmp_path / "rain").mkdir()
    (tmp_path / "rain" / "rain.py").write_text("drops = 1\n")
    (tmp_path / "cache.py").write_text("a = 1\n")
    before = key_of("a")
    assert key_of("a") == before
    (tmp_path / "other.py").write_text("b = 2\n")
    package = key_of("a")
    assert package != before
    (tmp_path / "rain" / "rain.py").write_text("drops = 2\n")
    assert key_of("a") != package


@pytest.mark.parametrize("library", ["ort", "np", "cv2"])
def test_keys_follow_the_libraries(library, monkeypatch):
    before = key_of("a")
    monkeypatch.setattr(getattr(cache, library), "__version__", "0.0.1")
    assert key_of("a") != before


DAMAGED = ["", "{", "{}", "[]", "7", '"text"', "null", '{"content": {"a": 1}}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_cache_is_no_cache(tmp_path, text):
    stored = Cache(tmp_path)
    stored.put("key", {"a": 1})
    assert stored.get("key") == {"a": 1}
    (tmp_path / "key.json").write_text(text)
    assert stored.get("key") is None


def test_a_changed_figure_is_no_cache(tmp_path):
    stored = Cache(tmp_path)
    stored.put("key", {"a": [0.25, float("inf")]})
    assert stored.get("key") == {"a": [0.25, float("inf")]}
    path = tmp_path / "key.json"
    path.write_text(path.read_text().replace("0.25", "0.26"))
    assert stored.get("key") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file").put("key", {"a": 1})
    assert Cache(tmp_path / "file").get("key") is None
