import json

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from derain.core.bundle import sha256
from derain.models.checkpoint import load_checkpoint
from derain.models.networks.rivulet import Rivulet, RivuletS
from derain.training.publish import _OF_A_RUN, earlier_runs
from derain.training.widen import main, widen


def _given():
    frame, before = torch.rand(2, 1, 3, 32, 48, generator=torch.manual_seed(3))
    return frame, before[:, :1], before


def _alike(small, large):
    with torch.no_grad():
        a, b = (net(*_given())[0] for net in (small, large))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def _trained():
    torch.manual_seed(1)
    small = RivuletS()
    for parameter in small.parameters():  # no longer nearly the identity
        torch.nn.init.normal_(parameter, std=0.05)
    return small


def test_the_wide_network_computes_the_same_and_can_learn_more():
    small, large = _trained(), Rivulet()
    widen(small, large)
    _alike(small, large)
    large(*_given())[0].square().mean().backward()
    assert large.last.weight.grad[:, 32:].abs().sum() > 0
    assert large.stem.weight[32:].abs().sum() > 0


def test_networks_that_do_not_fit():
    with pytest.raises(ValueError, match="as many blocks"):
        widen(Rivulet(blocks=3), RivuletS())


def test_the_record_names_the_runs_before(tmp_path):
    small = _trained()
    save_file(small.state_dict(), tmp_path / "rivulet-s.safetensors")
    record = {name: [] for name in _OF_A_RUN} | {
        "schema": 1,
        "sha256": sha256(tmp_path / "rivulet-s.safetensors"),
        "config": {"first_weights": "", "model": "rivulet-s"},
        "earlier_runs": [],
    }
    (tmp_path / "rivulet-s.json").write_text(json.dumps(record))
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    large = Rivulet()
    digest = load_checkpoint(large, tmp_path / "rivulet.safetensors")
    _alike(small, large)
    made = json.loads((tmp_path / "rivulet.json").read_text())
    assert made["sha256"] == digest
    assert made["config"]["first_weights"] == record["sha256"]
    assert [run["sha256"] for run in earlier_runs(digest, made)] == [
        record["sha256"],
        digest,
    ]
    again = CliRunner().invoke(main, [str(tmp_path)])
    assert again.exit_code == 1
    assert "is there already; move it away first" in again.stderr
