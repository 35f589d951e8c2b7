import json
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from derain.benchmarks.quality.evaluate_cli import main
from derain.core.pictures import read_picture
from derain.core.sizes import Size
from derain.training.validation import mean_score, score_pairs


def _invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_bundle_that_changes_nothing_scores_as_its_input(
    identity_bundle, pairs_folder, pairs
):
    bundle = identity_bundle()
    result = _invoke("--bundle", bundle, "--pairs", pairs_folder, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)[str(bundle)]
    wanted = mean_score([r.score for r in score_pairs(lambda rainy: rainy, pairs)])
    assert figures["pictures"] == 4
    assert figures["psnr_db"] == pytest.approx(wanted.psnr_db, abs=5e-4)
    assert figures["rainy"]["psnr_db"] == figures["psnr_db"]
    assert [row["name"] for row in figures["each"]] == ["0", "1", "2", "3"]


def test_network_and_bundle_in_one_table(identity_bundle, two_folders, finished_run):
    bundle = identity_bundle()
    result = _invoke(
        *("--model", "qsnet", "--weights", finished_run, "--bundle", bundle),
        *("--rainy", two_folders / "rain", "--clean", two_folders / "clean"),
        "--each",
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["PSNR", "SSIM", "pictures"]
    assert [line.split("  ")[-1] for line in lines if "4  " in line] == [
        "qsnet, PyTorch",
        str(bundle),
    ]
    assert len(lines) == 1 + 1 + 2 * (1 + 4)


def test_dry_pictures_of_a_bundle_that_changes_nothing(identity_bundle, pairs_folder):
    result = _invoke("--bundle", identity_bundle(), "--pairs", pairs_folder, "--dry")
    assert result.exit_code == 0, result.output
    assert "equal" in result.stdout


def test_some_of_the_pictures(identity_bundle, pairs_folder):
    bundle = identity_bundle()
    arguments = ("--bundle", bundle, "--pairs", pairs_folder, "--every", 3, "--json")
    figures = json.loads(_invoke(*arguments).stdout)[str(bundle)]
    assert [row["name"] for row in figures["each"]] == ["0", "3"]


def test_worst_pictures_are_drawn(tmp_path, identity_bundle, pairs_folder):
    sheet = tmp_path / "worst.png"
    result = _invoke(
        "--bundle", identity_bundle(), "--pairs", pairs_folder, "--worst", sheet
    )
    assert result.exit_code == 0, result.output
    assert read_picture(sheet).shape[1] == 3 * 400


def test_bundle_of_another_size_says_which_it_takes(identity_bundle, pairs_folder):
    result = _invoke("--bundle", identity_bundle(Size(64, 32)), "--pairs", pairs_folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: frame is 48x40, the bundle takes 64x32")
    assert len(result.stderr.splitlines()) == 1


def test_pictures_too_small_to_compare(tmp_path, identity_bundle):
    (tmp_path / "tiny").mkdir()
    cv2.imwrite(str(tmp_path / "tiny" / "a.png"), np.zeros((8, 16, 3), np.uint8))
    result = _invoke("--bundle", identity_bundle(), "--pairs", tmp_path / "tiny")
    assert result.exit_code == 1
    assert "SSIM needs 11x11" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "qsnet", "--weights", "no.pth", "--pairs", "."], "no pictures"),
        (["--bundle", "nowhere", "--rainy", "a", "--clean", "b"], "not a bundle"),
    ],
    ids=["empty folder", "no bundle"],
)
def test_our_errors_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    if "--model" in arguments:
        import torch

        from derain.models.registry import create_model

        torch.save(create_model("qsnet").state_dict(), "no.pth")
    result = _invoke(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("evaluate", "clip_evaluation", "derainers"):
        monkeypatch.delitem(sys.modules, f"derain.benchmarks.quality.{name}", False)
    result = _invoke("--bundle", "a", "--pairs", "b")
    assert result.exit_code == 1
    wanted = "torch is not installed; run: pip install 'derain[export]'"
    assert result.stderr == f"Error: {wanted}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pairs", "a"],
        ["--bundle", "a"],
        ["--bundle", "a", "--pairs", "b", "--rainy", "c", "--clean", "d"],
        ["--bundle", "a", "--rainy", "c"],
        ["--bundle", "a", "--weights", "w", "--pairs", "b"],
    ],
)
def test_wrong_usage_is_exit_2(arguments):
    assert _invoke(*arguments).exit_code == 2
