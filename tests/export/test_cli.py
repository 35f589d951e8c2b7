"""``derain-export`` as its user meets it: refusals, tolerances, existing bundles."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

from derain.core.bundle import Bundle
from derain.export import reference
from derain.export.cli import main

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x - 0.1 * self.conv(x)

class Leaves(Net):
    def __init__(self):
        raise SystemExit(0)

class Stateful(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        out = super().forward(x) + 0.2 * self.last
        self.last = out.mean().reshape(1)
        return out

class Chaotic(Net):
    # A rounding error in the 7th digit becomes one or two grey levels. Not more: how
    # much more it is with which kernels depends on the weights.
    def forward(self, x):
        return x + 0.006 * torch.sin(3e6 * self.conv(x))
"""


@pytest.fixture
def export(tmp_path, monkeypatch):
    (tmp_path / "networks_of_a_user.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*arguments, network="Net"):
        options = ["--model", f"networks_of_a_user:{network}", "--size", "40x32"]
        return CliRunner().invoke(main, [*options, *map(str, arguments)])

    return run


def entries(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != "__pycache__")


def test_progress_goes_to_stderr_and_the_table_to_stdout(export):
    result = export()
    assert result.exit_code == 0, result.output
    assert "comparing with PyTorch" in result.stderr
    assert "comparing with PyTorch" not in result.stdout
    assert "net-fp32-40x32" in result.stdout
    assert "dB" in result.stdout


def test_an_existing_bundle_is_kept_without_force(export, tmp_path):
    assert export("--quiet").exit_code == 0
    before = (tmp_path / "net-fp32-40x32" / "manifest.json").read_bytes()
    result = export("--quiet")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert (tmp_path / "net-fp32-40x32" / "manifest.json").read_bytes() == before


def test_force_replaces_a_bundle(export, tmp_path):
    assert export("--quiet").exit_code == 0
    before = (tmp_path / "net-fp32-40x32" / "model.onnx").read_bytes()
    assert export("--quiet", "--force", "--random-weights").exit_code == 0
    assert (tmp_path / "net-fp32-40x32" / "model.onnx").read_bytes() != before
    Bundle.open(tmp_path / "net-fp32-40x32")
    assert entries(tmp_path) == ["net-fp32-40x32", "networks_of_a_user.py"]


def test_a_folder_of_the_users_is_never_replaced(export, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"mine")
    result = export("--quiet", "--force", "--output", "mine")
    assert result.exit_code == 1
    assert "is not a bundle" in result.stderr
    assert (tmp_path / "mine" / "photo.jpg").read_bytes() == b"mine"


def test_a_graph_that_differs_is_refused_and_leaves_nothing(
    export, tmp_path, monkeypatch
):
    right = reference.derain_checked
    monkeypatch.setattr(
        reference, "derain_checked", lambda *arguments: 255 - right(*arguments)
    )
    result = export("--quiet")
    assert result.exit_code == 1
    assert "the FP32 graph differs from PyTorch" in result.stderr
    assert entries(tmp_path) == ["networks_of_a_user.py"]


def test_a_network_that_magnifies_rounding_is_measured_against_itself(export):
    # PyTorch has other kernels for pictures that are not tiny.
    result = export("--json", "--quiet", "--size", "96x80", network="Chaotic")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["manifest"]["verification"]
    assert figures["onnxruntime"]["identical"] < 0.999
    assert figures["pytorch_other_kernels"]["identical"] < 0.999


def test_fp16_below_the_tolerance_is_refused(export):
    result = export("--fp16", "--tolerance", "115", "--quiet")
    assert result.exit_code == 1
    assert "wanted 115.0 dB" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_checkpoint_that_does_not_fit_names_its_tensors(export, tmp_path):
    torch.save({"conv.weight": torch.zeros(3, 3, 5, 5)}, tmp_path / "other.pth")
    result = export("--weights", "other.pth", "--quiet")
    assert result.exit_code == 1
    assert "conv.weight" in result.stderr
    assert "conv.bias" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "missing.pth"], "missing.pth"),
        (["--frames", "missing.png"], "missing.png"),
    ],
)
def test_missing_files_are_one_line(export, arguments, said):
    result = export("--quiet", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "40x32", "--dynamic", "16x16,32x32,48x48"],
        ["--size", "0x32"],
        ["--dynamic", "32x32,32x32,32x32"],
        ["--weights", "a.pth", "--random-weights"],
    ],
)
def test_contradictions_are_usage_errors(export, arguments):
    assert export(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("network", "said"),
    [("Leaves", "it ends the program"), ("Stateful", "a state between frames")],
)
def test_what_cannot_be_proven_is_refused_in_one_line(export, tmp_path, network, said):
    result = export("--quiet", network=network)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert entries(tmp_path) == ["networks_of_a_user.py"]


def test_weights_that_are_not_given_are_noted(export):
    assert "note: no weights are given" in export().stderr


def test_graphs_are_kept_where_one_says(export, tmp_path):
    assert export("--quiet", "--keep-graphs", "graphs").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "graphs").iterdir())
    assert names[:3] == ["00-pytorch.onnx", "01-frame.onnx", "02-fold_constants.onnx"]
    result = export("--quiet", "--keep-graphs", "graphs", "--output", "other")
    assert result.exit_code == 1
    assert "graphs is not empty" in result.stderr


def test_a_tolerance_of_zero_takes_any_picture(export):
    assert export("--fp16", "--tolerance", "0", "--quiet").exit_code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place_is_one_line(export, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    result = export("--quiet", "--output", "locked/bundle")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
