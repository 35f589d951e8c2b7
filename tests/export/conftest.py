"""Small networks, and the way from a network to a running graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")
pytest.importorskip("onnx", reason="the exporter needs derain[export]")

import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import nn

from derain.core.sizes import SizeRange
from derain.export.operators.lowering import lower_operators
from derain.export.to_onnx import to_onnx
from derain.models.operators import region_non_local, unpool_by_indices
from derain.models.registry import NetworkFacts


@pytest.fixture(autouse=True)
def seed():
    """The same weights and pictures, whichever tests ran before.

    Not those of ``--random-weights``, whose seed is 0.
    """
    torch.manual_seed(1)


class UnpoolNet(nn.Module):
    """Pools and unpools with plain PyTorch, as many published networks do."""

    def __init__(self, *, module: bool = False, given_size: bool = True) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2) if module else None
        self.given_size = given_size
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        # Rounded after the ReLU, so that windows are full of ties.
        features = torch.round(torch.relu(self.first(x)) * 4)
        pooled, indices = self.pool(features)
        values = self.middle(pooled)
        size = features.shape[-2:] if self.given_size else None
        if self.unpool is not None:
            up = self.unpool(values, indices, output_size=size)
        else:
            up = F.max_unpool2d(values, indices, 2, output_size=size)
        return x - self.last(up)


class NonLocalNet(nn.Module):
    """Region-aware attention and an unpool through the operators of this project."""

    def __init__(self, regions: int = 2) -> None:
        super().__init__()
        self.regions = regions
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.theta = nn.Conv2d(8, 8, 1)
        self.phi = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        features = torch.relu(self.first(x))
        pooled, indices = F.max_pool2d(features, 2, return_indices=True)
        keys = F.max_pool2d(self.phi(pooled), 2)
        y = region_non_local(self.theta(pooled), keys, keys, self.regions)
        up = unpool_by_indices(y, indices, features.shape[2], features.shape[3])
        return x - self.last(up + features)


@pytest.fixture
def unpool_net() -> type[UnpoolNet]:
    return UnpoolNet


@pytest.fixture
def non_local_net() -> type[NonLocalNet]:
    return NonLocalNet


@pytest.fixture
def run_core(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Export a network, lower its operators, check the file and run it."""

    def run(network, image, sizes, *, target="any", facts=None, passes=()):
        core = to_onnx(
            network.eval(), facts or NetworkFacts(), SizeRange.parse(sizes), 20
        )
        for change in passes:
            change(core.model)
        run.operators = lower_operators(core.model, target, core.maps)
        run.model = core.model
        path = tmp_path / "core.onnx"
        ir.save(core.model, path)
        onnx.checker.check_model(path, full_check=True)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": image.numpy()})[0]

    return run
