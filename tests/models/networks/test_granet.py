import torch
import torch.nn.functional as F

from derain.models.networks.granet import GraNet
from support.plain_networks import attention_by_chunks, convolve, picture, randomized


def test_forward_is_that_of_the_paper():
    network = randomized(GraNet(), gain=0.7)
    state = network.state_dict()

    def conv(name, x):
        return convolve(state, name, x)

    def dense(name, x):
        maps = [x]
        for k in range(4):
            maps.append(conv(f"{name}.layers.{k}", torch.cat(maps, 1)).relu())
        return conv(f"{name}.fuse", torch.cat(maps, 1)) + x

    def region_aware(name, x, regions):
        # Each region on its own, pooled on its own, as the paper has it.
        rows = []
        for row in x.chunk(regions, 2):
            cells = []
            for cell in row.chunk(regions, 3):
                phi = F.max_pool2d(conv(f"{name}.phi", cell), 2)
                g = F.max_pool2d(conv(f"{name}.g", cell), 2)
                y = attention_by_chunks(conv(f"{name}.theta", cell), phi, g, 1)
                cells.append(conv(f"{name}.z", y) + cell)
            rows.append(torch.cat(cells, 3))
        return conv(f"{name}.conv", torch.cat(rows, 2)).relu()

    image = picture(32, 48, n=2)
    level_0 = dense("encoders.0", conv("coarse_in", image))
    pooled_0, i_0 = F.max_pool2d(level_0, 2, return_indices=True)
    level_1 = dense("encoders.1", pooled_0)
    pooled_1, i_1 = F.max_pool2d(level_1, 2, return_indices=True)
    level_2 = dense("encoders.2", pooled_1)
    pooled_2, i_2 = F.max_pool2d(level_2, 2, return_indices=True)
    x = F.max_unpool2d(region_aware("attention.0", pooled_2, 1), i_2, 2) + level_2
    x = F.max_unpool2d(region_aware("attention.1", x, 2), i_1, 2) + level_1
    x = F.max_unpool2d(region_aware("attention.2", x, 4), i_0, 2) + level_0
    coarse = image - conv("mask", x)
    f0 = conv("fine_in", coarse)
    d1 = dense("fine.0", f0)
    d2 = dense("fine.1", d1)
    d3 = dense("fine.2", d2)
    a = conv("aggregate", torch.cat([coarse, f0, d1, d2, d3], 1))
    wanted = (a[:, 0:3] + a[:, 3:6] + a[:, 6:9] + a[:, 9:12]) / 4

    torch.testing.assert_close(network.coarse(image), coarse, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network(image), wanted, atol=1e-4, rtol=1e-4)


def test_attention_starts_as_the_identity():
    torch.manual_seed(0)
    block = GraNet().attention[1]
    x = torch.rand(1, 32, 8, 8)
    assert torch.equal(block(x), block.conv(x).relu())


def test_widths_are_arguments():
    network = GraNet(channels=8, growth=4)
    assert network(picture(16, 16)).shape == (1, 3, 16, 16)
    assert network.encoders[0].layers[3].weight.shape == (4, 20, 3, 3)
