"""What of ``derain-bench unit`` needs no GPU: its figures' form, and its refusal."""

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="derain[export] is not installed")

import torch

from derain.benchmarks.cli import main
from derain.benchmarks.latency import fused_unit
from derain.models.networks.qsnet import ShuffleUnit


def test_without_a_gpu_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main, ["unit", "--size", "64x48"])
    assert result.exit_code == 1
    assert "needs a CUDA device and a PyTorch built for CUDA" in result.stderr


def test_another_file_is_not_replaced(tmp_path):
    record = tmp_path / "unit.json"
    record.write_text("mine")
    result = CliRunner().invoke(main, ["unit", "-o", str(record)])
    assert result.exit_code == 1
    assert record.read_text() == "mine"


def test_every_unit_has_its_own_parameters():
    units = torch.nn.Sequential(ShuffleUnit(32, 2), ShuffleUnit(32, 2)).eval()
    packed = fused_unit.FusedUnits(units).parameters_of_units
    assert packed.shape == (2, 720)
    assert not torch.equal(packed[0], packed[1])


def test_the_operator_knows_its_result_without_a_gpu():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(2, 32, 9, 7, dtype=torch.float16, device="cuda")
        y = torch.ops.derain.shuffle_unit(x, torch.empty(720, device="cuda"))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_the_table_compares_with_eager():
    row = {"fastest_ms": 1.0, "max_error": 0.25, "mean_error": 0.1}
    record = {
        "rows": [
            {"name": "eager", "median_ms": 8.0, **row},
            {"name": "fused unit", "median_ms": 2.0, **row},
        ]
    }
    assert fused_unit.table(record)[2] == ("fused unit", "2.000", "4.00", "0.25")
