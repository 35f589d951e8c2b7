"""Clips: memory is kept within, and reset between; figures over time."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

import torch
from torch import nn

from derain.benchmarks.quality.evaluate import evaluate
from derain.benchmarks.quality.evaluate_cli import main
from derain.core.errors import ConfigError, DerainError, NetworkError
from derain.core.metrics import score
from derain.core.pairs import Pair
from derain.core.sizes import Size
from derain.core.synthetic.rain import rainy_clip
from support.memory_network import Fading, Feedback, Seeing
from support.video_networks import (
    BsvdLike,
    EdvrLike,
    FastDvdNetLike,
    RlspLike,
    RvmLike,
    S2vdLike,
    ThreeArguments,
    lively,
)

SIZE = Size(48, 32)
FRAMES = 26


class Mean(nn.Module):
    """Half of the frame, half of the one before."""

    def states(self, height, width):
        return [(1, 3, height, width)]

    def forward(self, frame, before):
        return (frame + before) / 2, frame


class Sum(Mean):
    """A memory that never forgets: the picture gets brighter and brighter."""

    def forward(self, frame, seen):
        return frame + 0.002 * seen, frame + seen


class Still(nn.Module):
    def forward(self, frame):
        return frame


def clip_pairs(seed, count=FRAMES):
    clip = rainy_clip(SIZE, count, seed)
    return [Pair(f"{k:02}", *frame) for k, frame in enumerate(clip)]


@pytest.fixture(scope="module")
def clips():
    return {"a": clip_pairs(1), "b": clip_pairs(2)}


def mean_psnr(pairs, derained):
    return float(
        np.mean(
            [
                score(image, pair.clean).psnr_db
                for pair, image in zip(pairs, derained, strict=True)
            ]
        )
    )


@pytest.mark.parametrize("network", [Fading, Feedback, Seeing])
def test_a_bundle_remembers_within_a_clip_and_forgets_between(tmp_path, clips, network):
    by_hand = network(str(SIZE))
    bundle = by_hand.bundle(tmp_path / "b", [pair.rainy for pair in clips["a"][:4]])
    each = evaluate(bundle, clips=clips).figures()[str(bundle)]["each"]
    for figures, pairs in zip(each, clips.values(), strict=True):
        wanted = by_hand.derain([pair.rainy for pair in pairs])
        assert figures["psnr_db"] == pytest.approx(mean_psnr(pairs, wanted), abs=1e-3)
        first = score(wanted[0], pairs[0].clean).psnr_db
        assert figures["first"]["psnr_db"] == pytest.approx(first, abs=1e-3)
        steady = mean_psnr(pairs[8:], wanted[8:])
        assert figures["steady"]["psnr_db"] == pytest.approx(steady, abs=1e-3)


def test_pytorch_remembers_within_a_clip_and_forgets_between(clips):
    each = evaluate(Mean(), clips=clips).figures()["Mean"]["each"]
    for figures, pairs in zip(each, clips.values(), strict=True):
        frames = [pair.rainy.astype(float) for pair in pairs]
        mean = [
            (a + b) / 2 for a, b in zip(frames, [0 * frames[0], *frames], strict=False)
        ]
        wanted = [np.rint(image / 255 * 255).astype(np.uint8) for image in mean]
        assert figures["psnr_db"] == pytest.approx(mean_psnr(pairs, wanted), abs=0.02)


@pytest.mark.parametrize("network", [Fading, Feedback, Seeing])
def test_pictures_have_nothing_to_do_with_each_other(tmp_path, clips, network):
    """Whatever was derained before: the memory of a bundle is reset for each."""
    pairs = clips["a"][:4]
    bundle = network(str(SIZE)).bundle(tmp_path / "b", [p.rainy for p in pairs])
    together = evaluate(bundle, pairs).figures()[str(bundle)]["each"]
    alone = [evaluate(bundle, [p]).figures()[str(bundle)]["each"][0] for p in pairs]
    assert together == alone


def test_pictures_start_afresh_in_pytorch(clips):
    pairs = clips["a"][:3]
    together = evaluate(Mean(), pairs).figures()["Mean"]["each"]
    alone = [evaluate(Mean(), [p]).figures()["Mean"]["each"][0] for p in pairs]
    assert together == alone


WINDOWS = [
    (FastDvdNetLike, 5, 2, 4),
    (S2vdLike, 5, 2, 2),
    (EdvrLike, 5, 2, 1),
    (ThreeArguments, 3, 0, 1),
]
STATES = [(RvmLike, 0, 16), (RlspLike, 0, 2), (BsvdLike, 1, 1)]


@pytest.mark.parametrize(("network", "window", "look_ahead", "multiple_of"), WINDOWS)
def test_networks_over_a_window_are_measured(network, window, look_ahead, multiple_of):
    figures = evaluate(
        lively(network()),
        clips={"a": clip_pairs(1, 6)},
        window=window,
        look_ahead=look_ahead,
        multiple_of=multiple_of,
    ).figures()[network.__name__]
    assert figures["length"] == figures["frames"] == 6
    assert figures["steady"] is None


@pytest.mark.parametrize(("network", "look_ahead", "multiple_of"), STATES)
def test_networks_with_states_are_measured(network, look_ahead, multiple_of):
    figures = evaluate(
        lively(network()),
        clips={"a": clip_pairs(1, 4)},
        look_ahead=look_ahead,
        multiple_of=multiple_of,
    ).figures()[network.__name__]
    assert figures["frames"] == 4


def test_every_frame_runs_where_some_are_judged(clips):
    all_of_them = evaluate(Mean(), clips={"a": clips["a"]}).figures()["Mean"]
    some = evaluate(Mean(), clips={"a": clips["a"]}, every=5).figures()["Mean"]
    assert (some["length"], some["frames"]) == (26, 6)
    wanted = {row["frame"]: row for row in all_of_them["each"][0]["over_time"]}
    for row in some["each"][0]["over_time"]:
        assert row == wanted[row["frame"]]
    assert some["warping_levels"] > 0  # between neighbours, not between those judged
    assert some["flicker_levels"] < 1.5 * all_of_them["flicker_levels"]


def test_what_changes_nothing_is_as_unsteady_as_its_input(clips):
    figures = evaluate(Still(), clips=clips).figures()["Still"]
    for name in ("psnr_db", "ssim", "flicker_levels", "warping_levels"):
        assert figures[name] == figures["rainy"][name]
    assert min(figures["rainy"]["flicker_levels"], figures["static_share"]) > 0
    assert figures["clean"]["warping_levels"] > 0
    assert figures["drift_db"] is None  # it has no memory


def test_a_memory_that_goes_wrong_drifts(clips):
    figures = evaluate(Sum(), clips={"a": clips["a"]}).figures()["Sum"]
    assert figures["drift_db"] < -1
    assert evaluate(Mean(), clips=clips).figures()["Mean"]["drift_db"] == 0


def test_dry_clips_stay_as_they_are(clips):
    evaluation = evaluate(Still(), clips=clips, dry=True)
    figures = evaluation.figures()["Still"]
    assert figures["psnr_db"] is None
    assert figures["flicker_levels"] == 0
    assert figures["warping_levels"] == figures["clean"]["warping_levels"]
    assert str(evaluation).splitlines()[3].split()[0] == "equal"


def test_means_are_over_clips(clips):
    clips = {"a": clips["a"], "b": clips["b"][:9]}
    figures = evaluate(Still(), clips=clips).figures()["Still"]
    one, two = figures["each"]
    mean = (one["psnr_db"] + two["psnr_db"]) / 2
    assert figures["psnr_db"] == pytest.approx(mean, abs=1e-3)
    assert figures["frames"] == 26 + 9
    assert one["clip"] == "a"


class Spoilt(Mean):
    def forward(self, frame, before):
        return frame, before / 0


def test_nan_in_a_state_is_one_line(clips):
    with pytest.raises(NetworkError, match="NaN or infinity in state_0 on frame 0"):
        evaluate(Spoilt(), clips=clips)


def test_pairs_or_clips(clips):
    with pytest.raises(ConfigError, match="pairs of pictures, or clips"):
        evaluate(Still())
    with pytest.raises(ConfigError, match="added to clips"):
        evaluate(Still(), clips["a"], add_rain="heavy")
    with pytest.raises(ConfigError, match="exclude each other"):
        evaluate(Still(), clips=clips, add_rain="heavy", dry=True)
    with pytest.raises(DerainError, match="a has no frame"):
        evaluate(Still(), clips={"a": []})


NETWORK = """
import torch
from torch import nn


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def states(self, height, width):
        return [(1, 3, height // 2, width // 2)]

    def forward(self, frame, small):
        new = nn.functional.avg_pool2d(frame, 2)
        large = nn.functional.interpolate(small, scale_factor=2)
        return frame + 0.01 * self.gain * large, new
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A network of the user's own in the current folder, and its checkpoint."""
    (tmp_path / "evalnets.py").write_text(NETWORK)
    torch.save({"gain": torch.tensor(0.25)}, tmp_path / "best.pth")
    monkeypatch.chdir(tmp_path)
    return ["--model", "evalnets:Recurrent", "--weights", "best.pth"]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


def write_clip(folder, pairs):
    from derain.core.pictures import write_picture

    for kind in ("rain", "clean"):
        (folder / kind).mkdir(parents=True)
    for pair in pairs:
        write_picture(folder / "rain" / f"{pair.name}.png", pair.rainy)
        write_picture(folder / "clean" / f"{pair.name}.png", pair.clean)
    return folder


def test_the_command_measures_networks_of_ones_own_and_bundles(own, tmp_path, clips):
    bundle = Seeing(str(SIZE)).bundle(
        tmp_path / "see-fp32", [pair.rainy for pair in clips["a"][:4]]
    )
    folder = write_clip(tmp_path / "v" / "a", clips["a"][:10])
    done = invoke(*own, "--bundle", bundle, "--clips", folder.parent, "--each")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    head = "PSNR SSIM first steady drift flicker warping frames"
    assert lines[0].split() == head.split()
    assert [line.split("  ")[-1] for line in lines[1:]] == [
        *("rainy", "clean", "evalnets:Recurrent, PyTorch", "a", str(bundle), "a")
    ]
    record = json.loads(invoke(*own, "--clips", folder, "--json").stdout)
    (figures,) = record.values()
    assert figures["clips"] == 1
    assert len(figures["each"][0]["over_time"]) == 10
    assert figures["rainy"]["psnr_db"] < 40


def test_the_command_rains_on_clean_clips(own, tmp_path, clips):
    folder = write_clip(tmp_path / "a", clips["a"][:9])
    arguments = (*own, "--clips", folder, "--add-rain", "heavy", "--json")
    figures = [
        json.loads(invoke(*arguments, "--seed", seed).stdout) for seed in (1, 1, 2)
    ]
    assert figures[0] == figures[1] != figures[2]


def test_pictures_of_networks_of_ones_own(own, tmp_path, clips):
    folder = write_clip(tmp_path / "a", clips["a"][:2])
    done = invoke(*own, "--pairs", folder, "--multiple-of", 2)
    assert done.exit_code == 0, done.output
    assert "evalnets:Recurrent, PyTorch" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "nets:Net", "--clips", "nowhere"], 1, "nowhere is no folder"),
        (["--model", "qsnt", "--clips", "nowhere"], 1, "unknown model 'qsnt'"),
        (["--model", "qsnet", "--clips", "v", "--pairs", "p"], 2, "or --clips"),
        (["--model", "qsnet", "--clips", "v", "--worst", "w.png"], 2, "for pictures"),
        (["--model", "qsnet", "--pairs", "v", "--add-rain", "light"], 2, "--clips"),
        (["--model", "qsnet", "--clips", "v", "--window", "3"], 1, "of your own"),
        (["--model", "evalnets:No", "--clips", "v"], 1, "has no 'No'"),
    ],
)
def test_what_makes_no_sense_is_said(own, tmp_path, clips, arguments, status, message):
    write_clip(tmp_path / "v", clips["a"][:2])
    done = invoke(*arguments)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1
