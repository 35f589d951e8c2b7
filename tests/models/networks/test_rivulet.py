"""A trained network with a memory, from PyTorch to frames."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need derain[export]")

import torch

import derain
from derain.core.metrics import psnr_db
from derain.core.sizes import Size
from derain.core.synthetic.rain import PRESETS, rain_on_clip
from derain.core.synthetic.street import Street
from derain.models.networks.rivulet import RivuletS

SIZE = Size(160, 120)


def test_untrained_it_changes_little_and_remembers_green_and_what_it_made():
    net, frame = RivuletS().eval(), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        derained, *memory = net(frame, *map(torch.zeros, net.states(32, 48)))
    assert torch.equal(memory[0], frame[:, 1:2])
    assert torch.equal(memory[1], derained)
    assert derained.shape == frame.shape
    assert float((derained - frame).abs().max()) < 0.2


@pytest.fixture(scope="module")
def clip():
    """Rainy and clean frames, a part of a street 480 lines high."""
    street = Street(Size(640, 480), 5)
    clean = [street.frame(k)[180:300, 100:260] for k in range(8)]
    clean = [np.ascontiguousarray(frame) for frame in clean]
    return list(rain_on_clip(clean, PRESETS["moderate"], seed=3)), clean


def mean_psnr_db(frames, clean):
    return np.mean([psnr_db(a, b) for a, b in zip(frames, clean, strict=True)])


INT8 = {"method": "percentile", "no_cache": True}  # the gate is that of everybody


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_it_remembers_removes_rain(clip, tmp_path, precision):
    rainy, clean = clip
    int8 = {"calibrate_on": rainy, **INT8} if precision == "int8" else {}
    bundle = derain.export(
        "rivulet-s",
        size=SIZE,
        precision=precision,
        output=tmp_path / "rivulet",
        **int8,
    )
    with derain.load(bundle, "onnxruntime") as model:
        derained = [frame.copy() for frame in model.stream(rainy)]
        forgetful = []
        for frame in rainy:
            model.reset()
            forgetful.append(model(frame))
    # In PyTorch 25.36, 31.57 and 32.49 dB.
    before, alone, after = (
        mean_psnr_db(x, clean) for x in (rainy, forgetful, derained)
    )
    assert alone > before + 3.5
    assert after > max(before + 6.0, alone + 0.5)
