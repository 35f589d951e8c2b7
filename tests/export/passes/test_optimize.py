"""The rows of passes, target by target."""

import numpy as np
import pytest
import torch

from derain.export.passes import PASSES, optimize
from derain.models.networks.qsnet import QSNet
from support.graphs import ATOL, graph_of, lively, picture, run, types


@pytest.mark.parametrize("target", ["any", "tensorrt"])
def test_all_passes_together_keep_qsnet(target):
    network = lively(QSNet())
    image = picture()
    model = graph_of(network)
    counts = optimize(model, target)
    assert list(counts) == [n for n, row in PASSES.items() if target in row.targets]
    with torch.inference_mode():
        assert np.abs(run(model, image) - network(image).numpy()).max() < ATOL
    assert not {"BatchNormalization", "Transpose", "Gather"} & set(types(model))
    assert ("widen_thin_convolutions" in counts) == (target == "any")
    assert counts.get("fold_depthwise", 0) == (12 if target == "tensorrt" else 0)
