"""From a small network to its graph, and what a pass made of it."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import nn

from derain.core.sizes import SizeRange
from derain.export.passes.cleanup import fold_constants, remove_dead
from derain.export.to_onnx import to_onnx
from derain.models.registry import NetworkFacts

# Folding changes the order of additions; the pictures of these networks are near 1.
ATOL = 2e-5


def graph_of(network: nn.Module, sizes: str = "24x18") -> ir.Model:
    model = to_onnx(network.eval(), NetworkFacts(), SizeRange.parse(sizes), 20).model
    fold_constants(model)
    return model


def run(model: ir.Model, image: torch.Tensor) -> np.ndarray:
    proto = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(proto, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


def types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def check(model: ir.Model, change, *images: torch.Tensor) -> int:
    """Run `change` and compare before with after; returns what it counted."""
    before = [run(model, image) for image in images]
    count = change(model)
    remove_dead(model)
    for image, wanted in zip(images, before, strict=True):
        assert np.abs(run(model, image) - wanted).max() < ATOL
    return count


def picture(height: int = 18, width: int = 24) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))


class Wrapped(nn.Module):
    """3 -> channels -> `middle` -> 3."""

    def __init__(self, middle: nn.Module, channels: int, outputs: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(outputs or channels, 3, 3, padding=1)

    def forward(self, x):
        return x - self.last(self.middle(torch.relu(self.first(x))))


def lively(network: nn.Module) -> nn.Module:
    """Statistics and last layers that are not the neutral ones of a new network."""
    generator = torch.Generator().manual_seed(4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Conv2d) and not module.weight.detach().any():
            module.weight.data.normal_(0, 0.02, generator=generator)
    return network
