import torch

from derain.models.networks.treefusion import TreeFusion
from support.plain_networks import convolve, picture, randomized


def test_forward_is_that_of_the_paper():
    network = randomized(TreeFusion())
    state = network.state_dict()

    def fuse(name, a, b):
        return convolve(state, f"{name}.conv", torch.cat([a, b], 1)).relu()

    image = picture(13, 18, n=2)
    x = convolve(state, "stem", image).relu()
    outputs = []
    for k in range(8):
        one, two, three, four = (
            convolve(state, f"blocks.{k}.conv", x, dilation=d) for d in (1, 2, 3, 4)
        )
        near = fuse(f"blocks.{k}.fuse_near", one, two)
        far = fuse(f"blocks.{k}.fuse_far", three, four)
        x = (fuse(f"blocks.{k}.fuse", near, far) + x).relu()
        outputs.append(x)
    a, b, c, d, e, f, g, h = outputs
    ab, cd = fuse("tree.0.0", a, b), fuse("tree.0.1", c, d)
    ef, gh = fuse("tree.0.2", e, f), fuse("tree.0.3", g, h)
    root = fuse("tree.2.0", fuse("tree.1.0", ab, cd), fuse("tree.1.1", ef, gh))
    wanted = image - convolve(state, "rain", root)
    torch.testing.assert_close(network(image), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - image).abs().mean() > 1e-3  # it compared something


def test_dilations_share_one_kernel():
    names = {name for name, _ in TreeFusion().blocks[0].named_parameters()}
    fusions = {f"{f}.conv" for f in ("fuse_near", "fuse_far", "fuse")}
    assert names == {f"{m}.{k}" for m in fusions | {"conv"} for k in ("weight", "bias")}
