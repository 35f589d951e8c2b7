import datetime
import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from derain.calibration import cache, plan
from derain.calibration.accuracy_control import Limits
from derain.calibration.cache import Cache, graph_hash, key_of
from derain.calibration.calibration_file import Calibration, RefusedError
from derain.calibration.frame_store import held_out_pairs
from derain.calibration.job import Job, gather, run_job
from derain.calibration.plan import Options
from derain.calibration.report import table
from derain.calibration.session import Session
from derain.core.errors import CalibrationError
from derain.core.pictures import write_picture
from derain.core.sizes import Size

LOOSE = Limits(max_drop_db=5, min_psnr_db=25)
SIZE = Size(48, 32)
# Tensors of the small graph, as a calibration calls them.
IMAGE, R0, R1 = (f"input of conv{k}" for k in range(3))


class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2099, 1, 1, tzinfo=tz)


def job(footage, **changes):
    options = Options(**({"limits": LOOSE, "method": "minmax"} | changes))
    return Job(source=str(footage), frames=4, options=options)


def calibrate(model, job, pairs=()):
    with gather(job, SIZE) as material:
        fitted = tuple(held_out_pairs(pairs, SIZE))
        return run_job(model, replace(material, pairs=fitted))


def weight_of(model):
    return model.graph.initializers["w1"]


def change_a_weight(model):
    import onnx_ir as ir

    value = weight_of(model)
    array = value.const_value.numpy().copy()
    array[0, 0, 0, 0] += 0.01
    value.const_value = ir.tensor(array, name=value.name)


def test_a_calibration_fits_a_graph_whose_tensors_have_other_names(
    make_model, rainy, footage
):
    model, renamed = make_model(), make_model()
    for node in renamed.graph:
        for value in node.outputs:
            value.name += "_of_any_size"
    made = calibrate(model, job(footage, equalise=False))
    made = replace(made, factors={R1: [0.5, 2.0] * 4})
    pictures = []
    for graph in (model, renamed):
        made.apply(graph)
        pictures.append(Session(graph).derain(rainy[0]))
    np.testing.assert_array_equal(*pictures)


def test_a_file_gives_back_what_was_written(model, footage, tmp_path):
    made = calibrate(model, job(footage))
    made.write(tmp_path / "c.json")
    assert Calibration.read(tmp_path / "c.json") == made


def test_a_calibration_makes_its_graph_int8(model, footage):
    made = calibrate(model, job(footage))
    made.apply(model)
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("QuantizeLinear") == 4
    assert made.share == 1.0
    assert made.frames["frames"] == 4


def test_a_calibration_of_other_weights_is_refused(model, footage):
    made = calibrate(model, job(footage))
    change_a_weight(model)
    with pytest.raises(CalibrationError, match="for another graph"):
        made.apply(model)


def test_a_calibration_fits_the_graph_of_another_frame_size(model, footage):
    import onnx_ir as ir

    made = calibrate(model, job(footage))
    for node in model.graph:
        if node.name == "conv1":
            node.attributes["pads"] = ir.AttrInt64s("pads", [1, 1, 2, 2])
    made.apply(model)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph) == 4


DAMAGES = {
    "field": lambda fields: fields.pop("ranges"),
    "schema": lambda fields: fields.update(schema=99),
    "layer": lambda fields: fields.update(int8=["nothing"]),
    "NaN range": lambda fields: fields["ranges"].update({IMAGE: float("nan")}),
    "text for a range": lambda fields: fields["ranges"].update({IMAGE: "1"}),
    "range beyond FP16": lambda fields: fields["ranges"].update({IMAGE: 1e9}),
    "NaN mean": lambda fields: fields["means"][R0].__setitem__(3, float("nan")),
    "endless mean": lambda fields: fields["means"][R0].__setitem__(3, 1e39),
    "null for a mean": lambda fields: fields["means"][R0].__setitem__(3, None),
    "number for means": lambda fields: fields["means"].update(r0=1.0),
    "no multiplications": lambda fields: fields["macs"].update(conv1=0),
    "text for factors": lambda fields: fields["factors"].update(r1="12345678"),
    "factor of 0": lambda fields: fields["factors"].update(r1=[0.0] * 8),
    "text for a cost": lambda fields: fields["costs"].update(conv1="low"),
    "step": lambda fields: fields["curve"][-1].pop("psnr_db"),
    "list for ranges": lambda fields: fields.update(ranges=[1.0]),
    "empty": lambda fields: fields.clear(),
}


@pytest.fixture(scope="module")
def written(make_model, tmp_path_factory, footage):
    """A calibration file's content."""
    path = tmp_path_factory.mktemp("calibration") / "c.json"
    calibrate(make_model(), replace(job(footage), use_cache=False)).write(path)
    return path.read_text()


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_one_line(written, tmp_path, change):
    path = tmp_path / "c.json"
    fields = json.loads(written)
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(CalibrationError, match=r"c\.json is not a calibration file"):
        Calibration.read(path)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "[" * 100_000])
def test_a_file_of_another_form_is_one_line(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CalibrationError, match=r"c\.json is not a calibration file"):
        Calibration.read(tmp_path / "c.json")


INCOMPLETE = {
    f"range of {R0}": lambda fields: fields["ranges"].pop(R0),
    f"means of the 8 channels of {R0}": lambda fields: fields["means"].pop(R0),
    f"means of the 8 channels of {R1}": lambda fields: fields["means"][R1].pop(),
    f"means of the 3 channels of {IMAGE}": lambda fields: fields["means"].update(
        {IMAGE: [0.5] * 8}
    ),
    "range of r7": lambda fields: fields["ranges"].update(r7=1.0),
    "means of r7": lambda fields: fields["means"].update(r7=[1.0]),
    "layer conv0": lambda fields: (
        fields["macs"].pop("conv0"),
        fields["int8"].remove("conv0"),
    ),
    "layer conv7": lambda fields: (
        fields["macs"].update(conv7=1),
        fields["int8"].append("conv7"),
    ),
    "factors of r7": lambda fields: fields.update(factors={R1: [1.0] * 8, "r7": [1]}),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_an_incomplete_file_is_one_line_and_changes_nothing(
    model, written, tmp_path, what
):
    path = tmp_path / "c.json"
    fields = json.loads(written)
    INCOMPLETE[what](fields)
    path.write_text(json.dumps(fields))
    made, before = Calibration.read(path), graph_hash(model)
    with pytest.raises(CalibrationError, match=f"is damaged: {what} missing"):
        made.apply(model)
    assert graph_hash(model) == before


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(CalibrationError, match="derain-calibrate"):
        Calibration.read(tmp_path / "none.json")


@pytest.fixture
def measured_again(monkeypatch):
    """Makes measuring an error."""

    def forbid():
        def fail(*_, **__):
            raise AssertionError("measured again")

        monkeypatch.setattr("derain.calibration.plan.observe", fail)
        monkeypatch.setattr("derain.calibration.plan.Judge", fail)

    return forbid


def test_a_second_run_measures_nothing(model, footage, measured_again):
    first = calibrate(model, job(footage))
    measured_again()
    again = calibrate(model, job(footage))
    assert replace(again, created="") == replace(first, created="")


def test_what_was_refused_is_refused_again(model, footage, measured_again):
    strict = job(footage, limits=Limits(min_psnr_db=110))
    with pytest.raises(RefusedError) as first:
        calibrate(model, strict)
    measured_again()
    with pytest.raises(RefusedError) as again:
        calibrate(model, strict)
    assert str(again.value) == str(first.value)
    assert again.value.calibration.curve == first.value.calibration.curve


def test_what_is_found_says_where_the_frames_came_from_now(
    model, footage, tmp_path, measured_again, monkeypatch
):
    first = calibrate(model, job(footage))
    shutil.copytree(footage, tmp_path / "elsewhere")
    measured_again()
    monkeypatch.setattr(
        plan, "datetime", SimpleNamespace(datetime=Later, timezone=datetime.timezone)
    )
    again = calibrate(model, job(tmp_path / "elsewhere"))
    assert again.frames["sha256"] == first.frames["sha256"]
    assert "elsewhere" in again.frames["source"]
    assert again.created.startswith("2099")


def test_other_pairs_are_judged_again(model, footage, rainy, street):
    def drops(count, clean):
        pairs = list(zip(rainy[:count], clean[:count], strict=True))
        made = calibrate(model, job(footage), pairs=pairs)
        return made.frames["pairs"], made.curve[-1]["float_db"]

    none, one, other = drops(0, street), drops(1, street), drops(1, rainy)
    assert none == (0, None)
    assert one[0] == other[0] == 1
    assert other[1] != one[1] is not None


def test_another_method_looks_at_the_same_histograms(model, footage, monkeypatch):
    calibrate(model, job(footage))
    monkeypatch.setattr("derain.calibration.plan.observe", None)
    assert calibrate(model, job(footage, method="mse")).method == "mse"


def test_other_weights_are_measured_again(model, footage):
    first = calibrate(model, job(footage))
    change_a_weight(model)
    assert calibrate(model, job(footage)).graph != first.graph


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


def test_other_frames_and_limits_are_judged_again(model, footage, rainy, tmp_path):
    first = calibrate(model, job(footage))
    (tmp_path / "less").mkdir()
    for k, frame in enumerate(rainy[:8]):
        write_picture(tmp_path / "less" / f"{k}.png", frame)
    less = calibrate(model, job(tmp_path / "less"))
    assert less.frames["sha256"] != first.frames["sha256"]
    limits = Limits(max_drop_db=5, min_psnr_db=110)
    with pytest.raises(CalibrationError, match=r"wanted 110\.0 dB"):
        calibrate(model, job(footage, limits=limits))


def test_a_full_disk_leaves_no_file(model, footage, tmp_path, monkeypatch):
    made = calibrate(model, job(footage))

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CalibrationError, match=r"c\.json cannot be written: No space"):
        made.write(tmp_path / "c.json")
    assert not list(tmp_path.glob("c.json*"))


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


@pytest.mark.parametrize("text", ["{}", "[]"])
def test_a_damaged_cache_is_measured_again(model, footage, own_cache, text):
    first = calibrate(model, job(footage))
    for path in own_cache.iterdir():
        path.write_text(text)
    again = calibrate(model, job(footage))
    assert replace(again, created="") == replace(first, created="")


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file").put("key", {"a": 1})
    assert Cache(tmp_path / "file").get("key") is None


def test_auto_is_at_least_as_good_as_each_method(model, footage):
    scores = {
        method: calibrate(model, job(footage, method=method)).curve[-1]["psnr_db"]
        for method in ("auto", "minmax", "entropy")
    }
    # It was chosen on other frames than it is judged on.
    assert scores["auto"] >= max(scores.values()) - 0.5


def test_nan_weights_are_one_line(model, footage):
    import onnx_ir as ir

    value = weight_of(model)
    array = np.full_like(value.const_value.numpy(), np.nan)
    value.const_value = ir.tensor(array, name=value.name)
    with pytest.raises(CalibrationError, match="r1 is not finite"):
        calibrate(model, job(footage))


def test_the_table_tells_the_curve(model, footage):
    lines = table(calibrate(model, job(footage)))
    assert lines[1].split()[:2] == ["4/4", "100.0%"]


def test_the_table_says_why_layers_were_not_tried(depthwise_model, footage):
    made = calibrate(depthwise_model, job(footage))
    assert made.int8 == ("conv0", "conv2", "conv3")
    (line,) = (x for x in table(made) if x.startswith("in floating point"))
    assert line.startswith("in floating point: conv1, ")
    assert line.endswith(" is depth-wise")
