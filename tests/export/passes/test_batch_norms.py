"""BatchNorms folded."""

from torch import nn

from derain.export.passes.batch_norms import fold_batch_norms
from support.graphs import Wrapped, check, graph_of, lively, picture, types


def test_batch_norms_are_folded():
    network = lively(
        Wrapped(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 1, groups=2),
                nn.BatchNorm2d(8),
            ),
            8,
        )
    )
    model = graph_of(network)
    assert check(model, fold_batch_norms, picture()) == 2
    assert "BatchNormalization" not in types(model)


def test_a_batch_norm_with_another_reader_in_front_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    model = graph_of(lively(Shared()))
    assert check(model, fold_batch_norms, picture()) == 0
    assert "BatchNormalization" in types(model)
