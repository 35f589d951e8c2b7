"""``derain-export --fused-units``: the same picture, and what it refuses."""

import importlib.util

import numpy as np
import pytest
from click.testing import CliRunner
from torch import nn

from derain.core.errors import ConfigError, ExportError
from derain.export import pass_choice, pipeline
from derain.export.cli import main
from derain.export.options import ExportOptions
from derain.runtime.derainer import Derainer

SIZE = "72x56"


def export(model, folder, **options):
    given = {"precision": "fp16", "target": "tensorrt", "fused_units": True, **options}
    return pipeline.export(model, size=SIZE, output=folder, **given)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """qsnet with and without the option, by that."""
    folder = tmp_path_factory.mktemp("fused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pass_choice, "installed", list)  # no bytes are measured
        return {
            fused: export("qsnet", folder / str(fused), fused_units=fused)
            for fused in (False, True)
        }


def test_the_picture_is_the_same_within_a_level(bundles):
    frame, _ = bundles[True].golden_frames()
    plain, fused = (
        Derainer(bundles[k], backend="onnxruntime").derain(frame) for k in (False, True)
    )
    assert np.abs(plain.astype(int) - fused).max() <= 1
    assert np.abs(frame.astype(int) - fused).max() > 1  # it does something


def test_the_bundle_says_so(bundles):
    made = bundles[True].manifest
    assert [*made.operators] == [f"ShuffleUnit{k}" for k in range(12)]
    assert made.passes["fuse_shuffle_units"] == 12
    assert made.fp32_nodes == ()
    # Rounded inside, too: FP16's proof is of what the device computes.
    assert made.verification["fp16_emulated"]["psnr_db"] > 55
    assert bundles[False].manifest.operators == {}
    assert "fuse_shuffle_units" not in bundles[False].manifest.passes


def test_openvino_runs_it(bundles):
    pytest.importorskip("openvino", reason="pip install 'derain[openvino]'")
    frame, golden = bundles[True].golden_frames()
    got = Derainer(bundles[True], backend="openvino").derain(frame)
    assert np.abs(golden.astype(int) - got).max() <= 2  # it computes in FP32 or less


def test_tensorrts_parser_takes_it(bundles):
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'derain[tensorrt-rtx]'")
    assert bundles[True].manifest.verification["parser"]["refused"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"target": "any"},
        {"target": "onnxruntime"},
        {"precision": "fp32"},
        {"precision": "int8", "calibrate_on": "rain.mp4"},
    ],
    ids=str,
)
def test_other_targets_and_precisions_are_refused(options):
    given = {"precision": "fp16", "target": "tensorrt", **options}
    with pytest.raises(ConfigError, match=r"^--fused-units: got --.* is for --fp16 "):
        ExportOptions(fused_units=True, **given).check(own=False)


def test_the_command_refuses_in_one_line():
    result = CliRunner().invoke(main, ["--model", "qsnet", "--fp16", "--fused-units"])
    assert result.exit_code == 2  # usage, and one line that says why
    assert "--fused-units: got --fp16 --target any" in result.stderr


def test_a_network_without_units_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pass_choice, "installed", list)
    network = nn.Conv2d(3, 3, 3, padding=1)
    with pytest.raises(
        ExportError, match=r"^--fused-units: conv2d has no ShuffleNet unit of .*$"
    ):
        export(network, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
