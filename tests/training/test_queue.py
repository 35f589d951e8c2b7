import os
import signal

import pytest
import torch
from click.testing import CliRunner

from derain.core.errors import ConfigError, TrainingError
from derain.training.cli import main
from derain.training.loop import Trainer
from derain.training.options import TrainingOptions
from derain.training.queue import read_queue, run_queue
from derain.training.run import train
from derain.training.run_folder import read_state

TINY = """
model = "qsnet"
pairs = ["{pairs}"]
crop = 16
batch = 1
"""
AT_ONCE = 1e-9  # minutes: one step a slice


@pytest.fixture
def queue(tmp_path, pairs_folder, monkeypatch):
    """Writes a queue of tiny runs, each given as TOML besides what is common."""
    monkeypatch.chdir(tmp_path)

    def write(*runs):
        tables = ["[[run]]" + TINY.format(pairs=pairs_folder) + run for run in runs]
        (tmp_path / "runs.toml").write_text("\n".join(tables))
        return tmp_path / "runs.toml"

    return write


def _line(name, first, last, progress):
    return f"{name}: steps {first} to {last}, {progress}"


def test_runs_take_turns_until_all_are_finished(queue):
    path = queue('output = "a"\nsteps = 2', 'output = "b"\nsteps = 3')
    result = CliRunner().invoke(
        main, ["queue", str(path), "--slice-minutes", str(AT_ONCE)]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        _line("a", 0, 1, "50% done"),
        _line("b", 0, 1, "33% done"),
        _line("a", 1, 2, "finished"),
        _line("b", 1, 2, "67% done"),
        _line("b", 2, 3, "finished"),
    ]
    again = CliRunner().invoke(main, ["queue", str(path)])
    assert again.stdout.splitlines() == ["a: finished before", "b: finished before"]


def test_run_in_slices_ends_as_an_uninterrupted_one(queue, pairs_folder):
    path = queue('output = "slices"\nsteps = 3')
    list(run_queue(read_queue(path), AT_ONCE, lambda: False))
    train(
        TrainingOptions(
            model="qsnet",
            pairs=(pairs_folder,),
            crop=16,
            batch=1,
            steps=3,
            output=path.parent / "whole",
        )
    )
    whole, slices = (read_state(path.parent / name) for name in ("whole", "slices"))
    assert whole["step"] == slices["step"] == 3
    for kind in ("model", "average"):
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, slices[kind][name])
    assert torch.equal(whole["random"], slices["random"])


def test_run_that_waits_longest_is_next_after_a_new_start(queue):
    path = queue('output = "a"\nsteps = 9', 'output = "b"\nsteps = 9')
    first = next(run_queue(read_queue(path), AT_ONCE, lambda: False))
    second = next(run_queue(read_queue(path), AT_ONCE, lambda: False))
    assert [first[0], second[0]] == ["a", "b"]


def test_interrupt_saves_the_run_at_hand(queue, monkeypatch):
    path = queue('output = "a"\nsteps = 9', 'output = "b"\nsteps = 9')
    train_step = Trainer._train_step

    def interrupted(self, rate):
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return train_step(self, rate)

    monkeypatch.setattr(Trainer, "_train_step", interrupted)
    result = CliRunner().invoke(main, ["queue", str(path)])
    assert result.exit_code == 130
    assert result.stdout.splitlines() == [_line("a", 0, 2, "22% done")]
    assert read_state(path.parent / "a")["step"] == 2
    assert not (path.parent / "b").exists()


def test_run_that_fails_is_left_out_and_the_others_go_on(queue, said):
    path = queue(
        'output = "a"\nsteps = 1', 'clean = "nowhere"\noutput = "b"\nsteps = 1'
    )
    lines = []
    with pytest.raises(TrainingError, match="1 of 2 runs failed: b"):
        lines.extend(run_queue(read_queue(path), AT_ONCE, lambda: False))
    assert any(line.startswith("b failed and is left out: nowhere") for line in said())
    assert read_state(path.parent / "a")["step"] == 1


def test_run_with_other_settings_is_not_taken_for_finished(queue, said):
    for steps in (1, 2):
        runs = read_queue(queue(f'output = "a"\nsteps = {steps}'))
        if steps == 1:
            list(run_queue(runs, AT_ONCE, lambda: False))
    with pytest.raises(TrainingError, match="1 of 1 runs failed: a"):
        list(run_queue(runs, AT_ONCE, lambda: False))
    assert any("with other settings" in line for line in said())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no \[\[run\]\] tables"),
        ("run = 3", r"has no \[\[run\]\] tables"),
        ("run = []", r"has no \[\[run\]\] tables"),
        ("run = [3]", "run 1 is 3, wanted a table"),
        ("hours = 3", "unknown key 'hours'; wanted"),
        ('[[run]]\nmodel = "qsnet"\nhuors = 3', "run 1 has an unknown key 'huors'"),
        ("[[run]]\nhours = 3", "run 1: Missing option '--model'"),
        ('[[run]]\nmodel = "nledn"', "run 1: .*'nledn' is not trained here"),
        ('[[run]]\nmodel = "qsnet"\nhours = -1', "run 1: .*-1"),
        ('[[run]]\nmodel = "qsnet"\nhours = inf', "run 1: .*--hours.*inf"),
        ('[[run]]\nmodel = "qsnet"\nhours = 1\nsteps = 1', "run 1: .*not both"),
        ('[[run]]\nmodel = "qsnet"\nbf16 = 1', "run 1: bf16 is 1, wanted true or"),
        (2 * '[[run]]\nmodel = "qsnet"\n', "run 2: another run has the folder runs/q"),
        ("[[run", "is not TOML"),
    ],
)
def test_file_that_is_no_queue(tmp_path, text, message):
    (tmp_path / "runs.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_queue(tmp_path / "runs.toml")


def test_keys_are_the_options(tmp_path):
    path = tmp_path / "runs.toml"
    path.write_text(
        '[[run]]\nmodel = "granet"\nbf16 = true\ncompile = false\nhours = 2.5\n'
        'not-in = ["a", "b"]\nlearning-rate = 1e-4\n'
    )
    (options,) = read_queue(path)
    assert (options.bf16, options.compile, options.channels_last) == (True, False, None)
    assert (options.hours, options.learning_rate) == (2.5, 1e-4)
    assert [str(place) for place in options.not_in] == ["a", "b"]
