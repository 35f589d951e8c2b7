import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derain.core.errors import ExportError
from derain.export.operators import DOMAIN
from derain.export.operators.region_non_local import (
    MOST_TILES,
    TILE_BYTES,
    region_tiles,
    tile_count,
)
from derain.models.operators import region_non_local
from derain.models.registry import NetworkFacts

TARGETS = ("any", "onnxruntime", "tensorrt")
SIZES = pytest.mark.parametrize(
    ("sizes", "height", "width"),
    [
        pytest.param("48x32", 32, 48, id="static"),
        pytest.param("45x31", 31, 45, id="odd"),
        pytest.param("16x16,48x32,96x64", 32, 48, id="dynamic"),
        pytest.param("16x16,48x32,96x64", 37, 21, id="dynamic odd"),
    ],
)


def image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def op_types(model) -> set[str]:
    bodies = [node for function in model.functions.values() for node in function]
    return {node.op_type for node in [*model.graph, *bodies]}


@SIZES
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("module", [False, True], ids=["functional", "module"])
def test_plain_unpool_is_bit_equal(
    run_core, unpool_net, sizes, height, width, target, module
):
    torch.manual_seed(0)
    network = PlainUnpool(unpool_net(module=module))
    x = image(height, width)
    got = run_core(network, x, sizes, target=target)
    with torch.inference_mode():
        wanted = network.eval()(x).numpy()
    assert np.array_equal(got, wanted)
    # No index tensor and no scatter where the pool's input is at hand.
    assert "ScatterElements" not in op_types(run_core.model)


class PlainUnpool(nn.Module):
    """Shows the unpooled features themselves, of which nothing may differ."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        # Sixteenths survive the sum of a convolution-free path without rounding.
        features = torch.round(x * 16) / 16
        pooled, indices = F.max_pool2d(features, 2, return_indices=True)
        unpool = self.network.unpool
        if unpool is not None:
            return unpool(pooled + 1, indices, output_size=features.shape[-2:])
        return F.max_unpool2d(pooled + 1, indices, 2, output_size=features.shape[-2:])


@pytest.mark.parametrize("target", TARGETS)
def test_unpool_net_equals_torch(run_core, unpool_net, target):
    torch.manual_seed(0)
    network = unpool_net().eval()
    x = image(32, 48)
    got = run_core(network, x, "48x32", target=target)
    with torch.inference_mode():
        wanted = network(x).numpy()
    # Convolutions add in another order; the argmax must not flip, which would show.
    assert np.abs(got - wanted).max() < 1e-5


def test_unpool_without_output_size_of_odd_maps_follows_torch(run_core):
    class Skewed(nn.Module):
        def forward(self, x):
            pooled, indices = F.max_pool2d(x, 2, return_indices=True)
            up = F.max_unpool2d(pooled, indices, 2)  # 30x44 from a map of 31x44
            return F.pad(up, (0, 0, 0, 1))

    x = image(31, 44)
    got = run_core(Skewed(), x, "44x31")
    assert np.array_equal(got, Skewed()(x).numpy())
    assert "ScatterElements" in op_types(run_core.model)


@pytest.mark.parametrize("target", TARGETS)
def test_indices_may_travel_and_be_computed_with(run_core, target):
    class Travelling(nn.Module):
        def forward(self, x):
            pooled, indices = F.max_pool2d(x, 2, return_indices=True)
            state = {"indices": indices.clone(), "pooled": pooled * 2}
            mirrored = state["indices"].flip(3)
            up = F.max_unpool2d(state["pooled"].flip(3), mirrored, 2)
            return up + F.max_unpool2d(pooled, indices, 2)

    x = image(32, 48)
    got = run_core(Travelling(), x, "48x32", target=target)
    assert np.array_equal(got, Travelling()(x).numpy())


def test_max_pool_without_indices_stays_the_standard_operator(run_core):
    class Pooling(nn.Module):
        def forward(self, x):
            return F.interpolate(F.max_pool2d(x, 2), size=x.shape[-2:])

    x = image(32, 48)
    got = run_core(Pooling(), x, "48x32")
    assert np.array_equal(got, Pooling()(x).numpy())
    assert not run_core.model.functions


def test_a_pool_of_another_shape_with_indices_is_refused(run_core):
    class Overlapping(nn.Module):
        def forward(self, x):
            pooled, indices = F.max_pool2d(x, 3, stride=3, return_indices=True)
            return F.max_unpool2d(pooled, indices, 3, output_size=x.shape[-2:])

    with pytest.raises(ExportError, match=r"got kernel \(3, 3\).*wanted 2x2"):
        run_core(Overlapping(), image(33, 48), "48x33")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("regions", [1, 2, 4])
@pytest.mark.parametrize(
    ("sizes", "height", "width"),
    [
        pytest.param("64x32", 32, 64, id="static"),
        pytest.param("16x16,64x32,96x96", 32, 64, id="dynamic"),
        pytest.param("16x16,64x32,96x96", 16, 16, id="dynamic smallest"),
    ],
)
def test_region_non_local_equals_torch(
    run_core, non_local_net, monkeypatch, regions, sizes, height, width, target
):
    # Tiles of 16 KiB, so that these small maps are cut into several.
    monkeypatch.setattr("derain.export.operators.region_non_local.TILE_BYTES", 16 << 10)
    torch.manual_seed(0)
    network = non_local_net(regions).eval()
    x = image(height, width)
    facts = NetworkFacts(multiple_of=16, minimum=16)
    got = run_core(network, x, sizes, target=target, facts=facts)
    with torch.inference_mode():
        wanted = network(x).numpy()
    assert np.abs(got - wanted).max() < 1e-5  # the bound for FP32


def test_region_non_local_matches_a_plain_softmax():
    generator = torch.Generator().manual_seed(2)
    theta = torch.rand(2, 4, 8, 12, generator=generator) * 4
    phi = torch.rand(2, 4, 4, 6, generator=generator) * 4
    g = torch.rand(2, 4, 4, 6, generator=generator)
    rows = []
    for t, p, v in zip(theta.chunk(2, 2), phi.chunk(2, 2), g.chunk(2, 2), strict=True):
        columns = []
        for q, k, u in zip(t.chunk(2, 3), p.chunk(2, 3), v.chunk(2, 3), strict=True):
            scores = q.flatten(2).transpose(1, 2) @ k.flatten(2)
            y = torch.softmax(scores, -1) @ u.flatten(2).transpose(1, 2)
            columns.append(y.transpose(1, 2).reshape(q.shape))
        rows.append(torch.cat(columns, 3))
    wanted = torch.cat(rows, 2)
    got = region_non_local(theta, phi, g, 2)
    assert torch.allclose(got, wanted, atol=1e-6)


def test_region_non_local_names_a_map_that_does_not_divide():
    x = torch.rand(1, 4, 6, 8)
    with pytest.raises(ValueError, match="6x8 does not divide into 4x4 regions"):
        region_non_local(x, x, x, 4)


@pytest.mark.parametrize("queries", [1, 7, 640, 14720])
def test_tiles_are_small_enough_and_none_is_empty(queries):
    tiles = tile_count(64, queries, 3680, 4)
    piece = -(-queries // tiles)
    assert 64 * piece * 3680 * 4 <= TILE_BYTES + 64 * 3680 * 4
    assert piece * (tiles - 1) < queries


@pytest.mark.parametrize(
    ("regions", "tiles", "wanted"),
    [(1, 1, 1), (1, 9, 1), (2, 3, 4), (3, 2, 3), (4, 5, 8), (4, 25, 16), (8, 99, 64)],
)
def test_tensorrt_tiles_are_whole_regions(regions, tiles, wanted):
    assert region_tiles(regions, tiles) == wanted


def test_large_frames_have_larger_tiles_not_more():
    queries, keys = 136_255, 34_064  # granet's 4x4 regions at 3920x2224
    tiles = tile_count(16, queries, keys, 4)
    assert tiles <= 2 * MOST_TILES
    assert -(-queries // tiles) * (tiles - 1) < queries


class TwoNonLocals(nn.Module):
    """Keys of full size and of a third of it, and two channel counts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        x = self.first(x)
        x = region_non_local(x, x, x, 2)
        x = self.second(x)
        keys = F.max_pool2d(x, 3)
        return self.last(region_non_local(x, keys, keys, 2))


@pytest.mark.parametrize("sizes", ["24x12", "24x12,36x24,48x36"])
@pytest.mark.parametrize("target", TARGETS)
def test_non_local_takes_keys_of_any_size(run_core, sizes, target):
    network = TwoNonLocals()
    x = image(12, 24)
    facts = NetworkFacts(multiple_of=12)
    got = run_core(network, x, sizes, target=target, facts=facts)
    with torch.no_grad():
        np.testing.assert_allclose(got, network(x).numpy(), atol=1e-5)
    assert len(run_core.operators) == 2


def test_names_exist_nowhere_else(run_core, non_local_net, unpool_net):
    """TensorRT's parser looks at the operator's name alone."""
    standard = {s.name for s in onnx.defs.get_all_schemas_with_history()}
    names = set()
    for target in TARGETS:
        for network, facts in (
            (unpool_net(), None),
            (non_local_net(), NetworkFacts(multiple_of=16)),
        ):
            run_core(network, image(32, 64), "64x32", target=target, facts=facts)
            names |= {n.op_type for n in run_core.model.graph if n.domain == DOMAIN}
    assert {
        "UnpoolByPoolInput",
        "FlatMaxUnpool2x2",
        "RegionNonLocal2x2Channels8On32x16Keys16x8",
    } <= names
    assert not names & standard


def test_portable_bodies_use_standard_operators_only(run_core, non_local_net):
    facts = NetworkFacts(multiple_of=16)
    run_core(non_local_net(), image(32, 64), "64x32", facts=facts)
    domains = {
        node.domain
        for function in run_core.model.functions.values()
        for node in function
    }
    assert domains == {""}
