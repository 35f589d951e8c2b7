import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from derain.core.errors import CheckpointError, MediaError, TrainingError
from derain.core.synthetic.mixture import RainMixture, read_mixture
from derain.training import loop
from derain.training.data import CropSource
from derain.training.loop import Trainer, learning_rate
from derain.training.recipes import config_for, with_changes
from derain.training.run_folder import (
    LOG,
    ORIGIN,
    STATE,
    load_average,
    read_config,
    read_log,
    read_state,
)
from derain.training.validation import PairValidation

MIXTURE = RainMixture.parse(read_mixture(), "the default")


def _config(**changes):
    return with_changes(
        config_for("qsnet"),
        **({"steps": 6, "crop": 16, "batch": 2, "warm_up_loss_steps": 0} | changes),
    )


def _trainer(config, pairs, folder, objective=None):
    crops = CropSource(
        [pairs],
        [pairs[0].clean],
        crop=config.crop,
        batch=config.batch,
        mixture=config.mixture,
        rain=MIXTURE,
        seed=config.seed,
    )
    validation = PairValidation(pairs[:2])
    return Trainer(config, crops, validation, folder, objective=objective)


def _same(a, b):
    """Whether two checkpoints are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def _without_time(state):
    return {name: value for name, value in state.items() if name != "seconds"}


class _KilledError(Exception):
    pass


def test_resumed_run_ends_as_an_uninterrupted_one(tmp_path, pairs, monkeypatch):
    _trainer(_config(), pairs, tmp_path / "whole").run()

    first = _trainer(_config(), pairs, tmp_path / "parts")
    train_step = first._train_step

    def until_killed(rate):
        if first.step == 3:
            first.save()
        if first.step == 5:  # two steps after the checkpoint: they are lost
            raise _KilledError
        return train_step(rate)

    monkeypatch.setattr(first, "_train_step", until_killed)
    with pytest.raises(_KilledError):
        first.run()
    second = _trainer(_config(), pairs, tmp_path / "parts")
    assert second.step == 3
    second.run()
    whole, parts = (read_state(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == 6
    assert _same(_without_time(whole), _without_time(parts))


def test_channels_last_lays_memory_out_and_changes_nothing_else(tmp_path, pairs):
    ends = []
    for last in (False, True):
        trainer = _trainer(_config(channels_last=last), pairs, tmp_path / str(last))
        kernels = [x for x in trainer.model.parameters() if x.dim() == 4]
        assert last == all(
            kernel.is_contiguous(memory_format=torch.channels_last)
            for kernel in kernels
            if min(kernel.shape[1:]) > 1
        )
        picture = trainer._tensor(trainer._crops.batch(0)[0])
        assert picture.shape == (2, 3, 16, 16)
        assert last == picture.is_contiguous(memory_format=torch.channels_last)
        ends.append(trainer._train_step(1e-3))
    # Other kernels sum in another order.
    for name, loss in ends[0].items():
        torch.testing.assert_close(ends[1][name], loss, rtol=1e-4, atol=1e-6)


def test_a_step_in_bfloat16(tmp_path, pairs):
    losses, dtypes = [], []
    for bf16 in (False, True):
        trainer = _trainer(_config(bf16=bf16), pairs, tmp_path / str(bf16))
        trainer.model.stem[0].register_forward_hook(
            lambda module, inputs, output: dtypes.append(output.dtype)
        )
        losses.append(trainer._train_step(1e-3)["content"])
        assert trainer.skipped == 0
        assert {x.dtype for x in trainer.model.parameters()} == {torch.float32}
    assert dtypes == [torch.float32, torch.bfloat16]
    # 8 bits of mantissa.
    torch.testing.assert_close(losses[1].float(), losses[0], rtol=0.02, atol=0)


def test_gradient_is_clipped(tmp_path, pairs):
    def norm(clip):
        trainer = _trainer(_config(clip=clip), pairs, tmp_path / str(clip))
        trainer._train_step(1e-3)
        norms = [
            x.grad.norm() for x in trainer.model.parameters() if x.grad is not None
        ]
        return float(torch.stack(norms).norm())

    whole = norm(1e9)
    assert norm(whole / 3) == pytest.approx(whole / 3, rel=1e-4)
    assert norm(whole * 3) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("factor", [math.inf, math.nan])
def test_step_that_overflows_is_left_out_and_counted(
    tmp_path, pairs, monkeypatch, factor
):
    factors = iter([1.0, factor, 1.0])

    def objective(model, rainy, clean):
        return {"l1": next(factors) * (model(rainy) - clean).abs().mean()}

    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    trainer = _trainer(_config(steps=3), pairs, tmp_path, objective)
    train_step, weights = trainer._train_step, []

    def watched(rate):
        terms = train_step(rate)
        weights.append(trainer.model.last.weight.detach().clone())
        return terms

    monkeypatch.setattr(trainer, "_train_step", watched)
    trainer.run()
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert trainer.skipped == read_state(tmp_path)["skipped"] == 1
    entry = read_log(tmp_path)[0]
    assert entry["skipped"] == 1
    assert 0 < entry["loss"]["l1"] < 1  # the mean of the two that were taken
    assert _trainer(trainer.config, pairs, tmp_path).skipped == 1


class _Faulty:
    """A loss that is not finite from some step on."""

    def __init__(self, until, value=math.nan):
        self.calls, self.until, self.value = 0, until, value

    def __call__(self, model, rainy, clean):
        self.calls += 1
        factor = 1.0 if self.calls <= self.until else self.value
        return {"l1": factor * (model(rainy) - clean).abs().mean()}


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("steps", [4, 60], ids=["at the end", "on the way"])
def test_loss_that_is_lost_keeps_the_last_good_state(tmp_path, pairs, value, steps):
    trainer = _trainer(_config(steps=steps), pairs, tmp_path, _Faulty(2, value))
    trainer._train_step(1e-3)
    trainer.save()
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(TrainingError, match=r"diverged.*not finite.*kept.*at step 1$"):
        trainer.run()
    assert trainer.step == min(steps, 50)
    assert (tmp_path / STATE).read_bytes() == before


def test_weights_that_are_not_finite_are_not_saved(tmp_path, pairs):
    trainer = _trainer(_config(), pairs, tmp_path)
    trainer.save()
    torch.nn.init.constant_(trainer.average.last.bias, math.nan)
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        trainer.save()
    state = read_state(tmp_path)["average"]
    assert all(bool(x.isfinite().all()) for x in state.values())


def test_overflow_of_the_last_step_alone_is_no_divergence(tmp_path, pairs):
    factors = itertools.chain([1.0, math.inf], itertools.repeat(1.0))

    def objective(model, rainy, clean):
        return {"l1": next(factors) * (model(rainy) - clean).abs().mean()}

    trainer = _trainer(_config(steps=2), pairs, tmp_path, objective)
    trainer.run()  # which asks once more: the loss is finite
    assert trainer.skipped == 1
    assert read_state(tmp_path)["step"] == 2


def test_first_steps_have_the_warm_up_loss(tmp_path, pairs, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    config = _config(steps=4, warm_up_loss_steps=3)
    trainer = _trainer(config, pairs, tmp_path)
    trainer.run()
    (entry, _) = read_log(tmp_path)
    names = {"root_mean_square", "content", "quasi_sparsity", "auxiliary", "detail"}
    assert entry["loss"].keys() == names
    assert 0.01 < entry["loss"]["root_mean_square"] < 1


def test_run_that_is_stopped_ends_as_an_uninterrupted_one(tmp_path, pairs):
    config = _config(warm_up_loss_steps=3)
    _trainer(config, pairs, tmp_path / "whole").run()
    for end in (2, 4, 99):
        trainer = _trainer(config, pairs, tmp_path / "parts")
        trainer.run(stop=lambda end=end, trainer=trainer: trainer.step == end)
        assert trainer.step == min(end, 6)
    whole, parts = (read_state(tmp_path / name) for name in ("whole", "parts"))
    assert _same(_without_time(whole), _without_time(parts))


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"config.json": '{"name": "web"}'}, id="another config"),
        pytest.param({"config.json": "[1, 2]"}, id="no table"),
        pytest.param({"config.json": "\ufeff{"}, id="no JSON"),
        pytest.param({"log.jsonl": '{"event": 1}\n'}, id="another log"),
        pytest.param({"notes.txt": "mine"}, id="other files"),
    ],
)
def test_files_of_others_are_left_alone(tmp_path, pairs, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=r"holds .*choose another --output"):
        _trainer(_config(), pairs, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_notes_beside_a_run_do_not_keep_it_from_going_on(tmp_path, pairs):
    _trainer(_config(), pairs, tmp_path).save()
    (tmp_path / "notes.txt").write_text("mine")
    _trainer(_config(), pairs, tmp_path).run()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_checkpoint_of_an_older_version_has_skipped_nothing(tmp_path, pairs):
    trainer = _trainer(_config(), pairs, tmp_path)
    trainer.save()
    state = read_state(tmp_path)
    del state["skipped"]
    torch.save(state, tmp_path / STATE)
    assert _trainer(trainer.config, pairs, tmp_path).skipped == 0


def _kill_at_write(patch, number):
    """Stops the program in the middle of a file: the first one or a later one."""
    fsync, files = os.fsync, itertools.count(1)

    def stop(descriptor):
        if next(files) == number:
            os.ftruncate(descriptor, 10)
            raise _KilledError
        fsync(descriptor)

    patch.setattr(os, "fsync", stop)
    patch.setattr(Path, "unlink", lambda *_, **__: None)  # who is killed cleans nothing


@pytest.mark.parametrize("number", [1, 4], ids=["config", "first checkpoint"])
def test_run_killed_before_its_first_checkpoint_starts_again(tmp_path, pairs, number):
    _trainer(_config(seed=1, steps=2), pairs, tmp_path / "whole").run()
    folder = tmp_path / "killed"

    def first_checkpoint():
        trainer = _trainer(_config(), pairs, folder)
        trainer._train_step(1e-3)
        trainer.save()

    with pytest.MonkeyPatch.context() as patch:
        _kill_at_write(patch, number)
        with pytest.raises(_KilledError):
            first_checkpoint()
    assert list(folder.glob(".*.part"))
    (folder / ".mine.part").write_text("mine")
    # There is nothing to resume: other settings are no obstacle.
    again = _trainer(_config(seed=1, steps=2), pairs, folder)
    assert again.step == 0
    again.run()
    whole, killed = (read_state(tmp_path / name) for name in ("whole", "killed"))
    assert _same(_without_time(whole), _without_time(killed))
    assert read_config(folder).seed == 1
    assert [entry["step"] for entry in read_log(folder)] == [2]
    assert [path.name for path in folder.glob("*.part")] == [".mine.part"]


def test_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, pairs):
    trainer = _trainer(_config(steps=3), pairs, tmp_path)
    trainer._train_step(1e-3)
    trainer.save()
    before = (tmp_path / STATE).read_bytes()
    trainer._train_step(1e-3)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at_write(patch, 1)
        with pytest.raises(_KilledError):
            trainer.save()
    assert [part.stat().st_size for part in tmp_path.glob(".*.part")] == [10]
    assert (tmp_path / STATE).read_bytes() == before
    again = _trainer(trainer.config, pairs, tmp_path)
    assert again.step == 1
    again.run()
    assert read_state(tmp_path)["step"] == 3
    assert not list(tmp_path.glob("*.part"))


SCRIPT = """
import sys
from pathlib import Path
from derain.training.options import TrainingOptions
from derain.training.recipes import configured, with_changes
from derain.training.run import train
pairs, folder = map(Path, sys.argv[1:])
options = TrainingOptions(
    model="qsnet", pairs=(pairs,), steps=60, crop=16, batch=1, output=folder
)
train(options, with_changes(configured(options), save_minutes=1e-9))
"""


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_weights(tmp_path, pairs_folder):
    def start(folder):
        command = [sys.executable, "-c", SCRIPT, str(pairs_folder), str(folder)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole")
    killed = start(tmp_path / "killed")
    deadline = time.monotonic() + 300  # a machine may be busy
    while not (tmp_path / "killed" / STATE).exists():
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=300)
    assert read_state(tmp_path / "killed")["step"] == 50
    again = start(tmp_path / "killed")
    for process in (whole, again):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    a, b = (read_state(tmp_path / name) for name in ("whole", "killed"))
    assert a["step"] == 60
    assert _same(_without_time(a), _without_time(b))
    steps = [e["step"] for e in read_log(tmp_path / "killed") if "loss" in e]
    assert steps == [50]


def test_run_leaves_a_log_curves_and_a_sample(tmp_path, pairs):
    _trainer(_config(), pairs, tmp_path).run()
    (entry,) = read_log(tmp_path)
    assert entry["step"] == 6
    assert 0 < entry["psnr_db"] < 60
    for name in ("curves.png", "sample.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / ORIGIN).read_text())["torch"] == torch.__version__


def test_training_lowers_the_loss(tmp_path, pairs):
    trainer = _trainer(_config(steps=60, warmup_steps=1), pairs, tmp_path)
    losses = [sum(trainer._train_step(1e-3).values()) for _ in range(60)]
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])


def test_average_follows_the_weights(tmp_path, pairs):
    trainer = _trainer(_config(ema=0.5), pairs, tmp_path)
    before = trainer.model.stem[0].weight.detach().clone()
    trainer._train_step(1e-3)
    after = trainer.model.stem[0].weight.detach()
    # After the first step the decay is (1 + 1) / (10 + 1).
    wanted = before + (after - before) * (1 - 2 / 11)
    torch.testing.assert_close(trainer.average.stem[0].weight, wanted)


def test_full_disk_leaves_the_last_checkpoint(tmp_path, pairs, full_disk):
    trainer = _trainer(_config(save_minutes=0), pairs, tmp_path)
    trainer._train_step(1e-3)
    trainer.save()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        full_disk(len(before[STATE]) - 1),
        pytest.raises(MediaError, match=r"state\.pt cannot.*as it was at step 1$"),
    ):
        trainer.run()
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() - before.keys() == {"curves.png", "sample.png"}
    assert after[STATE] == before[STATE]
    assert _trainer(trainer.config, pairs, tmp_path).step == 1


@pytest.mark.parametrize("name", [LOG, "curves.png", "sample.png"])
def test_file_of_a_run_that_cannot_be_written_is_named(tmp_path, pairs, name):
    trainer = _trainer(_config(steps=1), pairs, tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()  # no file can take its place
    with pytest.raises(MediaError, match=f"{name} cannot be written"):
        trainer.run()
    assert not list(tmp_path.glob("*.part"))


def test_other_settings_are_not_resumed(tmp_path, pairs):
    _trainer(_config(), pairs, tmp_path).save()
    with pytest.raises(CheckpointError, match="with other settings"):
        _trainer(_config(crop=20), pairs, tmp_path)
    _trainer(replace(_config(), threads=2), pairs, tmp_path)  # those may change


def test_run_of_another_network_is_named(tmp_path, pairs):
    _trainer(_config(), pairs, tmp_path).save()
    with pytest.raises(CheckpointError, match="holds a run of qsnet, not granet"):
        load_average("granet", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_checkpoint(tmp_path, content):
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state(tmp_path)


def test_log_line_cut_short_is_left_out(tmp_path):
    (tmp_path / LOG).write_text('{"step": 1}\n{"st')
    assert read_log(tmp_path) == [{"step": 1}]


def test_learning_rate_rises_then_falls_to_its_last():
    config = _config(warmup_steps=10, learning_rate=1e-3, last_learning_rate=1e-5)
    assert learning_rate(config, 0, 0.0) == pytest.approx(1e-4)
    assert learning_rate(config, 9, 0.0) == pytest.approx(1e-3)
    assert learning_rate(config, 50, 0.5) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(config, 99, 1.0) == pytest.approx(1e-5)
    assert learning_rate(config, 99, 1.2) == pytest.approx(1e-5)


def test_run_of_hours_ends_by_the_clock(tmp_path, pairs, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    config = with_changes(_config(), steps=None, hours=1 / 60)
    trainer = _trainer(config, pairs, tmp_path)
    train_step, rates = trainer._train_step, []

    def of_seven_seconds(rate):
        nonlocal now
        now += 7.0
        rates.append(rate)
        return train_step(rate)

    monkeypatch.setattr(trainer, "_train_step", of_seven_seconds)
    trainer.run()
    assert trainer.step == 9  # the first that ends after 60 s
    assert read_state(tmp_path)["seconds"] == trainer.seconds == 63.0
    wanted = [learning_rate(config, step, step * 7 / 60) for step in range(9)]
    assert rates == pytest.approx(wanted)
