import json
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from derain.core.bundle import sha256
from derain.core.errors import CheckpointError, MediaError
from derain.models.loading import open_network
from derain.models.registry import MODELS
from derain.training import publish as publishing
from derain.training.cli import main
from derain.training.options import TrainingOptions
from derain.training.run import train
from derain.training.run_folder import load_average

RECORD = {
    "schema": int,
    "model": str,
    "paper": str,
    "sha256": str,
    "bytes": int,
    "parameters": int,
    "storage": str,
    "figures": dict,
    "trained_on": list,
    "rain": str,
    "steps": int,
    "hours": float,
    "command": str,
    "config": dict,
    "departures": list,
    "origin": dict,
    "notes": list,
    "earlier_runs": list,
}
MOST_BYTES = 15_000_000
RECORDS = sorted(publishing.WEIGHTS.glob("*.json"))


def _check(record, weights):
    assert {name: type(value) for name, value in record.items()} == RECORD
    assert record["schema"] == publishing.SCHEMA
    assert record["sha256"] == sha256(weights)
    assert record["bytes"] == weights.stat().st_size < MOST_BYTES
    assert record["origin"].keys() == {
        "commit",
        "device",
        "python",
        "torch",
        "started",
    }
    text = json.dumps(record)
    assert "/work" not in text
    assert "/home" not in text
    loaded = open_network(record["model"], weights=weights)
    assert sum(p.numel() for p in loaded.network.parameters()) == record["parameters"]


def test_run_becomes_weights_and_their_record(
    tmp_path, finished_run, pairs_folder, two_folders
):
    arguments = [finished_run, "--test", pairs_folder, "--video", two_folders]
    arguments += ["--trained-on", "four made-up pairs", "-o", tmp_path / "weights"]
    result = CliRunner().invoke(main, ["publish", *(str(each) for each in arguments)])
    assert result.exit_code == 0, result.output
    weights = tmp_path / "weights" / "qsnet.safetensors"
    record = json.loads(weights.with_suffix(".json").read_text())
    _check(record, weights)
    assert record["storage"] == "float16"
    assert record["steps"] == 2
    assert record["figures"]["pairs/test"]["pictures"] == 4
    assert record["figures"] == json.loads(result.stdout)
    assert sorted(p.name for p in weights.parent.iterdir()) == [
        "qsnet.json",
        "qsnet.safetensors",
    ]
    wanted = load_average("qsnet", finished_run).state_dict()
    got = open_network("qsnet", weights=weights).network.state_dict()
    for name, tensor in got.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, wanted[name].half().float())


def test_a_network_with_a_memory_is_measured_over_the_clip(
    tmp_path, pairs_folder, two_folders
):
    options = TrainingOptions(
        model="rivulet-s",
        clean=two_folders / "clean",
        steps=2,
        batch=1,
        crop=16,
        output=tmp_path / "run",
    )
    train(options)
    record = publishing.publish(
        tmp_path / "run",
        test=pairs_folder,
        video=two_folders,
        trained_on=[],
        output=tmp_path,
    )
    _check(record, tmp_path / "rivulet-s.safetensors")
    figures = record["figures"]
    assert figures["pairs/test"]["pictures"] == 4
    assert figures["video/a1, every 4th frame"]["pictures"] == 1
    dry = figures["dry video/a1, every 4th frame"]
    assert dry["least_psnr_db"] > 25  # hardly trained: nearly as it was
    assert figures["flicker"]["still scenes"] == 1
    assert 0 < figures["flicker"]["derained"] < 2 * figures["flicker"]["rainy"]
    assert "derain-train rain" in record["rain"]


@pytest.fixture
def publish(tmp_path, finished_run, pairs_folder, two_folders):
    """Publishes a finished run into `tmp_path`; returns the record."""
    return partial(
        publishing.publish,
        finished_run,
        test=pairs_folder,
        video=two_folders,
        trained_on=[],
        notes=[],
        output=tmp_path,
    )


def test_output_that_is_a_file(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "measure", None)  # not before all is measured
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="file cannot be made: File exists"):
        publish(output=tmp_path / "file")


def test_figures_of_some_pictures_say_so(publish):
    record = publish(every=4)
    assert {
        name: f["pictures"] for name, f in record["figures"].items() if "/" in name
    } == {
        "pairs/test, every 4th picture": 1,
        "video/a1, every 16th frame": 1,
        "dry pairs/test, every 16th picture": 1,
    }


def test_weights_that_rounding_harms_stay_in_float32(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "HALF_TOLERANCE_DB", -1.0)
    record = publish()
    assert record["storage"] == "float32"
    tensors = load_file(tmp_path / "qsnet.safetensors")
    assert tensors["last.weight"].dtype == torch.float32


def test_a_run_that_went_on_from_shipped_weights_names_theirs():
    old = {name: name for name in publishing._OF_A_RUN} | {"sha256": "abc"}
    old["config"] = {"first_weights": "012"}
    record = old | {"earlier_runs": ["first"], "figures": {}}
    assert publishing.earlier_runs("abc", record) == ["first", old]
    assert publishing.earlier_runs("def", record) == []
    # The same run again, further on.
    assert publishing.earlier_runs("012", record) == ["first"]
    assert publishing.earlier_runs("", record) == []
    assert publishing.earlier_runs("abc", None) == []


@pytest.mark.parametrize("name", ["qsnet.json", "qsnet.safetensors"])
def test_files_of_others_are_not_replaced(publish, tmp_path, name, monkeypatch):
    monkeypatch.setattr(publishing, "measure", None)  # not before all is measured
    (tmp_path / name).write_text('{"name": "mine"}')
    with pytest.raises(CheckpointError, match="is not what derain-train publish wrote"):
        publish()
    assert (tmp_path / name).read_text() == '{"name": "mine"}'


def test_record_of_ours_is_replaced(publish, tmp_path):
    first, second = publish(), publish(notes=["again"])
    assert first["sha256"] == second["sha256"]
    record = json.loads((tmp_path / "qsnet.json").read_text())
    assert record["notes"] == ["again"]
    assert record["config"]["warm_up_loss_steps"] == 500


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
def test_shipped_weights_can_be_made_again_from_nothing(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    chain = [*record["earlier_runs"], record]
    first = [run["config"]["first_weights"] for run in chain]
    assert first == ["", *(run["sha256"] for run in chain[:-1])]


def test_folder_without_a_run_is_one_line(tmp_path):
    arguments = [tmp_path, "--test", tmp_path, "--video", tmp_path]
    arguments += ["--trained-on", "nothing"]
    result = CliRunner().invoke(main, ["publish", *(str(each) for each in arguments)])
    assert result.exit_code == 1
    assert "holds no training run" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
def test_shipped_weights_are_those_of_their_record(path):
    weights = path.with_suffix(".safetensors")
    record = json.loads(path.read_text(encoding="utf-8"))
    _check(record, weights)
    assert record["model"] == path.stem
    (name,) = (x for x in record["figures"] if x.startswith("pairs/test"))
    figures = record["figures"][name]
    every = 1 if name == "pairs/test" else int(name.split()[2].removesuffix("th"))
    assert figures["pictures"] == len(range(0, 99, every))
    if every == 1:
        assert figures["rainy"] == {"psnr_db": 22.571, "ssim": 0.6892}
    if not MODELS[record["model"]].memory:  # alone, pictures are not what it is for
        assert figures["psnr_db"] > figures["rainy"]["psnr_db"] + 1.5


def test_no_weights_without_a_record():
    weights = {path.stem for path in publishing.WEIGHTS.glob("*.safetensors")}
    assert weights == {path.stem for path in RECORDS}
    total = sum(p.stat().st_size for p in publishing.WEIGHTS.glob("*.safetensors"))
    assert total < 40_000_000
