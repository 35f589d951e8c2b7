"""What holds for every network of the table."""

from functools import cache

import pytest
import torch
from torch.export import Dim, export
from torch.utils.flop_counter import FlopCounterMode

from derain.core.errors import ShapeError, UnknownNameError
from derain.core.sizes import Size
from derain.models.networks.dcsfn import DCSFN
from derain.models.registry import MODELS, NetworkFacts, create_model
from derain.models.video_network import VideoNetwork, has_states
from support.plain_networks import picture, randomized

EVERY = pytest.mark.parametrize("name", MODELS)
# Multiply-accumulates of a pixel, in thousands; the custom operators count as zero.
KMACS = {
    "qsnet": 46.144,
    "granet": 172.788,
    "dcsfn": 1117.201,  # 73.2 GMAC at 256x256
    "stagewise": 167.445,
    "treefusion": 90.080,
    "nledn": 337.312,
    "rivulet": 25.488,
    "rivulet-s": 12.384,
}
PARAMETERS = {
    "qsnet": 48_530,
    "granet": 263_491,
    "dcsfn": 6_453_147,
    "stagewise": 17_356,
    "treefusion": 35_427,
    "nledn": 1_005_379,
    "rivulet": 102_208,
    "rivulet-s": 49_712,
}


@cache
def _on_meta(name):
    """The network without weights, which costs neither memory nor arithmetic."""
    with torch.device("meta"):
        return create_model(name).eval()


def _size(name):
    """A small size that it takes."""
    sizes = {"dcsfn": (32, 32), "granet": (16, 32), "nledn": (16, 32)}
    return (32, 48) if MODELS[name].memory else sizes.get(name, (9, 14))


def _derained(network, x):
    """The picture that it makes of `x`, from an empty memory where it has one."""
    if not has_states(network):
        return network(x)
    states = VideoNetwork(network, NetworkFacts()).shapes(Size(x.shape[3], x.shape[2]))
    zeros = [x.new_zeros((len(x), *state[1:])) for state in states]
    return network(x, *zeros)[0]


def _unused(name):
    """The parameters that no pass uses: of another recurrent unit, or without state."""
    if name != "dcsfn":
        return set()
    cells, gates = ("rec1_4", "rec2_1"), ("xr", "hz", "hr", "hn")
    idle = [f"{cell}.conv_{gate}" for cell in cells for gate in gates]
    idle += ["fusion_1_2_2.0", "fusion_2_2_2.0"]
    return {f"{layer}.{kind}" for layer in idle for kind in ("weight", "bias")}


@EVERY
def test_a_row_says_whether_it_has_a_memory(name):
    assert MODELS[name].memory == has_states(_on_meta(name))


@EVERY
def test_number_of_parameters(name):
    assert sum(x.numel() for x in _on_meta(name).parameters()) == PARAMETERS[name]


def test_number_of_parameters_of_dcsfn_in_its_paper():
    with torch.device("meta"):
        network = DCSFN(channels=32, block_scales=(1, 2, 4))
    assert sum(x.numel() for x in network.parameters()) == 12_630_519


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=[pytest.mark.slow] * (x == "dcsfn")) for x in MODELS],
)
def test_arithmetic(name):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        _derained(_on_meta(name), torch.empty(1, 3, 256, 256, device="meta"))
    kmacs = counter.get_total_flops() / 2 / 256**2 / 1000
    assert kmacs == pytest.approx(KMACS[name], abs=5e-4)


@EVERY
def test_a_batch_is_its_pictures(name):
    network = randomized(create_model(name))
    x = picture(*_size(name), n=3)
    with torch.inference_mode():
        together = _derained(network, x)
        apart = torch.cat([_derained(network, one) for one in x.split(1)])
    assert together.shape == x.shape
    assert together.dtype == torch.float32
    # Kernels may sum in another order for another batch.
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-3)


@EVERY
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_every_used_parameter_gets_a_finite_gradient(name, mode):
    network = create_model(name).train(mode == "train")
    clean, rainy = (picture(*_size(name), n=2, seed=seed) for seed in range(2))
    (_derained(network, rainy) - clean).square().mean().backward()
    unused = {n for n, x in network.named_parameters() if x.grad is None}
    assert unused == _unused(name)
    for parameter in network.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_dcsfn_has_30600_unused_parameters():
    sizes = {n: x.numel() for n, x in _on_meta("dcsfn").named_parameters()}
    assert sum(sizes[n] for n in _unused("dcsfn")) == 30_600


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("qsnet", 1, 1),
        ("qsnet", 17, 23),
        ("stagewise", 1, 1),
        ("stagewise", 17, 23),
        ("treefusion", 1, 1),
        ("treefusion", 17, 23),
        ("dcsfn", 33, 47),
    ],
)
def test_odd_sizes(name, height, width):
    with torch.inference_mode():
        got = create_model(name).eval()(picture(height, width))
    assert got.shape == (1, 3, height, width)
    assert got.isfinite().all()


@pytest.mark.parametrize(
    ("name", "height", "width", "wanted"),
    [
        ("granet", 16, 24, "GraNet: got a picture of 24x16, wanted multiples of 16"),
        ("granet", 8, 16, "GraNet: got a picture of 16x8, wanted multiples of 16"),
        ("nledn", 17, 16, "NLEDN: got a picture of 16x17, wanted multiples of 16"),
        ("nledn", 16, 8, "NLEDN: got a picture of 8x16, wanted multiples of 16"),
        ("dcsfn", 31, 40, "DCSFN: got a picture of 40x31, wanted at least 32x32"),
        ("dcsfn", 40, 31, "DCSFN: got a picture of 31x40, wanted at least 32x32"),
    ],
)
def test_other_sizes_are_named(name, height, width, wanted):
    network = _on_meta(name)
    with pytest.raises(ShapeError, match=f"^{wanted}; pad it and crop the result$"):
        network(torch.empty(1, 3, height, width, device="meta"))


@EVERY
def test_facts_are_the_sizes_it_takes(name):
    facts = MODELS[name].facts
    smallest = facts.minimum
    x = torch.empty(2, 3, smallest, smallest + facts.multiple_of, device="meta")
    with torch.inference_mode():
        assert _derained(_on_meta(name), x).shape == x.shape


@pytest.mark.parametrize("name", ["treefusion", "granet"])
def test_exports_with_dynamic_sizes(name):
    unit = MODELS[name].facts.multiple_of
    sizes = {2: unit * Dim("rows", min=2, max=99), 3: unit * Dim("cols", min=2, max=99)}
    network = create_model(name).eval()
    program = export(network, (picture(48, 64),), dynamic_shapes=(sizes,)).module()
    x = picture(32, 80)
    with torch.inference_mode():
        torch.testing.assert_close(program(x), network(x))


def test_unknown_model_is_named():
    with pytest.raises(UnknownNameError, match="unknown model 'qsnett'; choose from d"):
        create_model("qsnett")
