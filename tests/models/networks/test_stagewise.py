import torch
import torch.nn.functional as F

from derain.models.networks.stagewise import StageWise
from support.plain_networks import convolve, picture, randomized


def test_stages_are_those_of_the_paper():
    network = randomized(StageWise())
    state = network.state_dict()

    def act(x):
        return F.leaky_relu(x, 0.2)

    def dense(x):
        z = [x, act(convolve(state, "dense.dilated.0", x))]
        for k, dilation in ((1, 2), (2, 4), (3, 8)):
            y = convolve(state, f"dense.squeeze.{k - 1}", torch.cat(z[::-1], 1))
            z.append(
                act(convolve(state, f"dense.dilated.{k}", act(y), dilation=dilation))
            )
        return act(convolve(state, "dense.fuse", torch.cat(z[::-1], 1)))

    image = picture(15, 12, n=2)
    pictures, rains = [image], []
    for t in range(1, 13):
        u = image
        if t > 1:
            u = convolve(state, f"outer.{t - 2}", torch.cat(pictures[::-1], 1))
        rains.append(convolve(state, "rain", dense(act(convolve(state, "extract", u)))))
        pictures.append(image - rains[-1])
    y = act(convolve(state, "refine.0", pictures[-1]))
    y = act(convolve(state, "refine.2", y))
    wanted = convolve(state, "refine.4", y)

    got = network.stages(image)
    torch.testing.assert_close(got.rains, tuple(rains), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.clean, wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(network(image), got.clean)
    assert len(got.rains) == 12


def test_stages_share_their_network():
    network = StageWise()
    outer = sum(x.numel() for x in network.outer.parameters())
    # One 1x1 from 3t channels to 3 a stage, t = 2..12; all else once.
    assert outer == sum(3 * t * 3 + 3 for t in range(2, 13))
    assert sum(x.numel() for x in StageWise(stages=1).parameters()) == 17_356 - outer
