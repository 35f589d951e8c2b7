import pytest
import torch
import torch.nn.functional as F

from derain.models.checkpoint import load_checkpoint
from derain.models.networks.dcsfn import DCSFN
from support.plain_networks import convolve, picture, randomized


def _shapes(channels, units, scales):
    """Names and shapes of the authors' checkpoints, from a reading of their code."""
    c = channels
    wanted = {}

    def conv(name, outputs, inputs, kernel):
        wanted[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        wanted[f"{name}.bias"] = (outputs,)

    conv("convert.0", c, 3, 3)
    for coder in ("encoder", "decoder"):
        for pictures in (1, 2, 4):
            for i in range(units):
                root = f"{coder}_scale{pictures}"
                for scale in scales:
                    for j in range(4):
                        conv(f"{root}.units.{i}.scale{scale}.{j}.0", c, c, 3)
                for fusion in ("84", "42", "21")[4 - len(scales) :]:
                    conv(f"{root}.units.{i}.fusion{fusion}.0", c, 2 * c, 1)
                conv(f"{root}.units.{i}.fusion_all.0", c, len(scales) * c, 1)
                conv(f"{root}.conv1x1.{i}.0", c, (i + 2) * c, 1)
    for name in ("1_2_1", "1_2_2", "2_2_1", "2_2_2"):
        conv(f"fusion_{name}.0", c, 2 * c, 1)
    for turn in (1, 2):
        for pictures in (1, 2, 4):
            for gate in ("xz", "xr", "xn", "hz", "hr", "hn"):
                conv(f"rec{turn}_{pictures}.conv_{gate}", c, c, 3)
    conv("merge.0", 3, 3 * c, 1)
    conv("merge.2", 3, 3, 3)
    return wanted


@pytest.mark.parametrize(
    ("channels", "scales"), [(20, (1, 2, 4, 8)), (32, (1, 2, 4))], ids=["code", "paper"]
)
def test_tensors_are_those_of_the_release(channels, scales):
    with torch.device("meta"):
        state = DCSFN(channels=channels, block_scales=scales).state_dict()
    wanted = _shapes(channels, 16, scales)
    assert {name: tuple(x.shape) for name, x in state.items()} == wanted


def test_checkpoints_of_the_release_load(tmp_path):
    network, other = DCSFN(channels=4, units=1), DCSFN(channels=4, units=1)
    optimizer = torch.optim.Adam(network.parameters())
    content = {
        "net": {f"module.{name}": x for name, x in network.state_dict().items()},
        "clock_net": {"epoch": 800, "minibatch": 0, "step": 60_000},
        "opt_net": optimizer.state_dict(),
    }
    torch.save(content, tmp_path / "latest_net")
    load_checkpoint(other, tmp_path / "latest_net")
    assert torch.equal(other.merge[2].weight, network.merge[2].weight)


@pytest.mark.parametrize(
    ("scales", "height", "width"),
    [((1, 2, 4, 8), 32, 40), ((1, 2, 4, 8), 39, 53), ((1, 2, 4), 37, 32)],
)
def test_forward_is_that_of_the_release(scales, height, width):
    network = randomized(DCSFN(channels=4, units=3, block_scales=scales))
    state = network.state_dict()

    def act(name, *maps):
        return F.leaky_relu(convolve(state, name, torch.cat(maps, 1)), 0.2)

    def to(like, x):
        """Nearest neighbour, by its definition: floor(position * from / to)."""
        rows = torch.arange(like.shape[2]) * x.shape[2] // like.shape[2]
        columns = torch.arange(like.shape[3]) * x.shape[3] // like.shape[3]
        return x[:, :, rows][:, :, :, columns]

    def row(name, x):
        for j in range(4):
            x = act(f"{name}.{j}.0", x)
        return x

    def unit(name, x):
        p2, p4 = F.max_pool2d(x, 2), F.max_pool2d(x, 4)
        coarsest = []
        if len(scales) == 4:
            s8 = row(f"{name}.scale8", F.max_pool2d(x, 8))
            p4 = act(f"{name}.fusion84.0", p4, to(p4, s8))
            coarsest = [to(x, s8)]
        s4 = row(f"{name}.scale4", p4)
        s2 = row(f"{name}.scale2", act(f"{name}.fusion42.0", p2, to(p2, s4)))
        s1 = row(f"{name}.scale1", act(f"{name}.fusion21.0", x, to(x, s2)))
        maps = [s1, to(x, s2), to(x, s4), *coarsest]
        return act(f"{name}.fusion_all.0", *maps) + x

    def encode(name, x):
        maps, out = [x], x
        for i in range(3):
            maps.append(unit(f"{name}.units.{i}", out))
            out = act(f"{name}.conv1x1.{i}.0", *maps)
        return out, maps[1:]

    def decode(name, x, skips):
        maps, out = [x], x
        for i in range(3):
            maps.append(unit(f"{name}.units.{i}", out + skips[i]))
            out = act(f"{name}.conv1x1.{i}.0", *maps)
        return out

    def gru(name, x, h=None):
        def gate(kind, value):
            return convolve(state, f"{name}.conv_{kind}", value)

        if h is None:
            return F.leaky_relu(gate("xz", x).sigmoid() * gate("xn", x).tanh(), 0.2)
        z = (gate("xz", x) + gate("hz", h)).sigmoid()
        r = (gate("xr", x) + gate("hr", h)).sigmoid()
        n = (gate("xn", x) + gate("hn", r * h)).tanh()
        return F.leaky_relu((1 - z) * h + z * n, 0.2)

    image = picture(height, width, n=2)
    full = act("convert.0", image)
    e1, skips_1 = encode("encoder_scale1", full)
    e2, skips_2 = encode("encoder_scale2", F.max_pool2d(full, 2))
    e4, skips_4 = encode("encoder_scale4", F.max_pool2d(full, 4))
    h4 = gru("rec1_4", e4)
    h2 = gru("rec1_2", e2, to(e2, h4))
    h1 = gru("rec1_1", e1, act("fusion_1_2_1.0", to(e1, h2), to(e1, h4)))
    g1 = gru("rec2_1", h1)
    g2 = gru("rec2_2", h2, to(h2, g1))
    g4 = gru("rec2_4", h4, act("fusion_2_2_1.0", to(h4, g1), to(h4, g2)))
    d1 = decode("decoder_scale1", g1, skips_1)
    d2 = decode("decoder_scale2", g2, skips_2)
    d4 = decode("decoder_scale4", g4, skips_4)
    rain = act("merge.0", d1, to(d1, d2), to(d1, d4))
    wanted = image - convolve(state, "merge.2", rain)
    torch.testing.assert_close(network(image), wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - image).abs().mean() > 1e-3  # it compared something
