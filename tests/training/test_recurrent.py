"""Training of networks with a memory: from folders of clips to a run."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from derain.core.errors import CheckpointError, ConfigError, NetworkError
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.synthetic.mixture import DEFAULT, RainMixture, read_mixture
from derain.core.synthetic.street import Street
from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.training import recurrent
from derain.training.cli import main
from derain.training.clip_validation import (
    ClipValidation,
    flicker,
    score_clip,
    stream_with,
)
from derain.training.clips import ClipSource, TrainingClip
from derain.training.config import Mixture
from derain.training.loop import Trainer
from derain.training.recipes import config_for, departures, with_changes
from derain.training.recurrent import ClipObjective
from derain.training.run_folder import read_config, read_log, read_state

MIXTURE = RainMixture.parse(read_mixture(), "the default")


def _street(count, seed=0):
    street = Street(Size(64, 48), seed)
    return TrainingClip(f"street{seed}", [street.frame(k) for k in range(count)])


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory):
    """Three clips of seven frames, and a photograph."""
    folder = tmp_path_factory.mktemp("made")
    for seed in range(3):
        (folder / "clips" / f"street{seed}").mkdir(parents=True)
        for index, frame in enumerate(_street(7, seed).frames):
            write_picture(folder / "clips" / f"street{seed}" / f"{index}.png", frame)
    (folder / "clean").mkdir()
    write_picture(folder / "clean" / "0.png", _street(1, 9).frames[0])
    return folder


def _train(folder, *arguments, model="rivulet-s"):
    given = ["--model", model, "--crop", 16, "--batch", 2, "--steps", 2, *arguments]
    given += ["--output", folder]
    return CliRunner().invoke(main, [str(each) for each in given])


def test_a_run_on_clips_and_photographs(tmp_path, clips_folder):
    run = tmp_path / "run"
    sources = ["--clips", clips_folder / "clips", "--clean", clips_folder / "clean"]
    result = _train(run, *sources, "--validation-clips", 1, "--frames", 4)
    assert result.exit_code == 0, result.output
    assert "2 clips to train on, 1 to validate: street1" in result.stderr
    config = read_config(run)
    assert (config.frames, config.clip_sets, config.validation_clips) == (4, 1, 1)
    assert config.rain == read_mixture()
    assert config.warm_up_loss_steps == 0
    (entry,) = read_log(run)
    assert 10 < entry["psnr_db"] < 60
    assert 10 < entry["first_frame_psnr_db"] < 60
    for name in ("curves.png", "sample.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert "clips of 4 frames" in departures(config)
    assert "--clips CLIPS --validation-clips 1 --steps 2 --frames 4 --rain RAIN" in (
        config.command()
    )


def test_photographs_alone_do(tmp_path, clips_folder):
    result = _train(tmp_path / "run", "--clean", clips_folder / "clean")
    assert result.exit_code == 0, result.output
    assert read_config(tmp_path / "run").frames == 7


def test_the_rain_of_a_file_is_kept_and_printed(tmp_path, clips_folder):
    rain = tmp_path / "rain.toml"
    rain.write_text("[[rain]]\nwidth_px = { log_uniform = [1, 2] }\n[camera]\njpeg=70")
    run = tmp_path / "run"
    result = _train(run, "--clean", clips_folder / "clean", "--rain", rain)
    assert result.exit_code == 0, result.output
    wanted = {"rain": [{"width_px": {"log_uniform": [1, 2]}}], "camera": {"jpeg": 70}}
    assert read_config(run).rain == wanted
    printed = CliRunner().invoke(main, ["rain", str(run)])
    (tmp_path / "again.toml").write_text(printed.stdout)
    assert read_mixture(tmp_path / "again.toml") == wanted
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"config": {"rain": read_mixture()}}))
    (tmp_path / "again.toml").write_text(
        CliRunner().invoke(main, ["rain", str(record)]).stdout
    )
    assert read_mixture(tmp_path / "again.toml") == read_mixture()
    assert CliRunner().invoke(main, ["rain"]).stdout == DEFAULT.read_text()


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"rain": 3}'])
def test_what_says_no_rain_is_one_line(tmp_path, content):
    path = tmp_path / "record.json"
    if content:
        path.write_text(content)
    result = CliRunner().invoke(main, ["rain", str(path)])
    assert result.exit_code == 1
    assert "record.json is no run, nor a record of weights, that" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_network_without_a_memory_takes_pictures_of_clips(tmp_path, clips_folder):
    result = _train(
        tmp_path / "run", "--clips", clips_folder / "clips", model="stagewise"
    )
    assert result.exit_code == 0, result.output
    assert "0 pairs to train on, 0 to validate, 3 photographs" in result.stderr
    found = departures(read_config(tmp_path / "run"))
    assert "88% of the crops in rendered rain" in found


@pytest.mark.parametrize(
    ("model", "arguments", "wanted"),
    [
        ("qsnet", ["--frames", 3], "qsnet has no memory, and sees one picture at a ti"),
        ("rivulet-s", [], "there are no clips to train on; give --clips or --clean"),
        ("rivulet-s", ["--pairs", "x"], "rivulet-s has a memory, which single pairs c"),
        ("rivulet-s", ["--clips", "none"], "none cannot be read"),
        ("rivulet-s", ["--clips", "clips", "--frames", 8], "holds 7 frames, wanted 8"),
        ("rivulet-s", ["--clips", "clips", "--validation-clips", 3], "there are 3 cl"),
        ("rivulet-s", ["--clean", "clean", "--crop", 17], "--crop is 17, wanted a mu"),
        ("rivulet-s", ["--clean", "clean", "--rain", "no.toml"], "no.toml cannot be "),
        ("rivulet-s", ["--clips", "clean"], "clean holds no folders; wanted one for"),
        ("rivulet-s", ["--clips", "bad"], "empty holds no pictures"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    tmp_path, clips_folder, monkeypatch, model, arguments, wanted
):
    monkeypatch.chdir(clips_folder)
    (clips_folder / "bad" / "empty").mkdir(parents=True, exist_ok=True)
    result = _train(tmp_path / "run", *arguments, model=model)
    assert result.exit_code == 1
    assert wanted in result.stderr
    assert "Traceback" not in result.output
    assert len([x for x in result.stderr.splitlines() if "Error" in x]) == 1


def test_clips_that_show_what_is_measured_on_are_left_out(tmp_path, clips_folder):
    measured = tmp_path / "measured"
    measured.mkdir()
    write_picture(measured / "0.png", _street(1, 2).frames[0])
    result = _train(
        tmp_path / "run", "--clips", clips_folder / "clips", "--not-in", measured
    )
    assert "left out 1 of 3 clips that show a scene in" in result.stderr
    assert "there are 2 clips, and 2 are to validate on" in result.stderr


def _trainer(folder, **changes):
    settings = {"steps": 6, "crop": 16, "batch": 3, "frames": 3, "rain": read_mixture()}
    config = with_changes(config_for("rivulet-s"), **(settings | changes))
    source = ClipSource(
        [_street(5)],
        _street(1, 9).frames,
        frames=config.frames,
        crop=config.crop,
        batch=config.batch,
        dry=0.1,
        mixture=MIXTURE,
        seed=config.seed,
    )
    return Trainer(config, source, ClipValidation([_street(6, 4)]), folder)


def test_a_stopped_run_ends_as_an_uninterrupted_one(tmp_path):
    _trainer(tmp_path / "whole").run()
    for end in (2, 99):
        trainer = _trainer(tmp_path / "parts")
        trainer.run(stop=lambda end=end, trainer=trainer: trainer.step == end)
    whole, parts = (read_state(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    for kind in ("model", "average"):
        for name, wanted in whole[kind].items():
            assert torch.equal(parts[kind][name], wanted), name
    assert torch.equal(whole["random"], parts["random"])


def test_another_rain_is_another_run(tmp_path):
    _trainer(tmp_path).save()
    with pytest.raises(CheckpointError, match="with other settings"):
        _trainer(tmp_path, rain={"rain": [{}]})


def test_training_lowers_the_loss(tmp_path):
    trainer = _trainer(tmp_path, mixture=Mixture(rendered=1, dry=0))
    batch = trainer._crops.batch(0)
    trainer._crops = type("Same", (), {"batch": lambda self, step: batch})()
    losses = [float(trainer._train_step(2e-3)["root_mean_square"]) for _ in range(25)]
    assert min(losses[-5:]) < 0.8 * losses[0]


class Summing(nn.Module):
    """Adds up what it saw, times a weight; says how it is called."""

    def __init__(self, states=((1, 3, 2, 2),)):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen, self._states = [], states

    def states(self, height, width):
        return self._states

    def forward(self, frame, total):
        self.seen.append(total.detach().clone())
        total = self.weight * (total + frame)
        return total, total


def test_errors_go_back_through_all_frames(monkeypatch):
    monkeypatch.setattr(recurrent, "FORGETFUL", 0.0)
    network, frames = Summing(), torch.ones(2, 3, 3, 2, 2)
    loss = ClipObjective(NetworkFacts())(network, frames, torch.zeros_like(frames))
    assert not network.seen[0].any()  # zeros at the start
    # Sums are w, w + w^2 and w + w^2 + w^3: their mean without the first, at w = 1.
    assert float(loss["root_mean_square"].detach()) == pytest.approx((2 + 3) / 2)
    loss["root_mean_square"].backward()
    assert float(network.weight.grad) == pytest.approx((3 + 6) / 2)


def test_a_part_of_the_samples_begins_with_the_second_frame(monkeypatch):
    monkeypatch.setattr(recurrent, "FORGETFUL", 0.25)
    torch.manual_seed(0)
    network, frames = Summing(), torch.ones(800, 2, 3, 2, 2)
    ClipObjective(NetworkFacts())(network, frames, torch.zeros_like(frames))
    forgotten = (network.seen[1] == 0).all((1, 2, 3)).float().mean()
    assert float(forgotten) == pytest.approx(0.25, abs=0.05)


def test_states_without_a_batch_are_named():
    network, frames = Summing(states=[(4, 2, 2)]), torch.ones(2, 2, 3, 2, 2)
    with pytest.raises(NetworkError, match=r"says \(4, 2, 2\), wanted 1 as the first"):
        ClipObjective(NetworkFacts())(network, frames, frames)


def test_a_clip_is_scored_in_order_with_its_memory(pairs):
    class Previous(nn.Module):
        def states(self, height, width):
            return [(1, 3, height, width)]

        def forward(self, frame, before):
            return before, frame

    results = score_clip(
        stream_with(Previous().eval(), NetworkFacts()), pairs, every=2, images=True
    )
    assert [result.name for result in results] == ["0", "2"]
    assert not results[0].image.any()
    np.testing.assert_array_equal(results[1].image, pairs[1].rainy)


def test_flicker_is_the_mean_change_from_frame_to_frame():
    levels = (10, 12, 8)
    frames = [np.full((4, 4, 3), level, np.uint8) for level in levels]
    assert flicker(frames) == 3.0


def test_validation_is_of_steady_and_of_first_frames():
    network = create_model("rivulet-s").eval()
    nn.init.zeros_(network.last.weight)  # changes nothing
    figures, sample = ClipValidation([_street(6)])(network, MODELS["rivulet-s"].facts)
    assert figures.keys() == {"psnr_db", "ssim", "first_frame_psnr_db"}
    assert 10 < figures["psnr_db"] < 60
    assert sample.shape[1] == 3 * 64


def test_pairs_and_an_own_crop_in_one_config_error(tmp_path, clips_folder):
    from derain.training.options import TrainingOptions
    from derain.training.run import train

    options = TrainingOptions(model="rivulet-s", pairs=(clips_folder,), output=tmp_path)
    with pytest.raises(ConfigError, match="has a memory"):
        train(options)
    with pytest.raises(ConfigError, match="--crop is 15"):
        train(replace(options, pairs=(), crop=15))
