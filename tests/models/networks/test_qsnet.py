import torch
import torch.nn.functional as F

from derain.models.networks.qsnet import QSNet
from support.plain_networks import convolve, picture, randomized


def test_forward_is_that_of_the_paper():
    network = QSNet()
    for x in (picture(24, 24, n=2, seed=k) for k in range(3)):
        network(x)  # running statistics that are not the defaults
    network = randomized(network)
    state = network.state_dict()

    def norm(name, x, dilation=1, groups=1):
        x = convolve(state, f"{name}.0", x, dilation=dilation, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.1.{key}"] for key in names))

    def shuffle(x, groups):
        return torch.cat(
            [x[:, k :: x.shape[1] // groups] for k in range(x.shape[1] // groups)],
            dim=1,
        )

    image = picture(17, 20, n=2)
    x = norm("stem", image).relu()
    for k in range(12):
        y = norm(f"encoder.{k}.squeeze", x, groups=2).relu()
        y = norm(f"encoder.{k}.depthwise", shuffle(y, 2), groups=16)
        x = (norm(f"encoder.{k}.expand", y, groups=2) + x).relu()
    features = [norm("heads.0", x).relu()]
    for k, dilation in enumerate((1, 2, 4, 6), start=1):
        features.append(norm(f"heads.{k}", x, dilation=dilation, groups=2).relu())
    rains = []
    for k, feature in enumerate(features):
        y = shuffle(norm(f"decoders.{k}.mix", feature, groups=2).relu(), 2)
        rains.append(convolve(state, f"decoders.{k}.last", y))
    shared = shuffle(torch.cat(features, 1), 5)
    y = torch.cat([shared, *(image - rain for rain in rains)], 1)
    y = shuffle(norm("gather", y).relu(), 2)
    rain = convolve(state, "last", norm("mix", y, groups=2).relu())

    got = network.decode(image)
    torch.testing.assert_close(got.auxiliary, tuple(rains), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.rain, rain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network(image), image - rain, atol=1e-4, rtol=1e-4)


def test_training_starts_at_the_identity():
    x = picture(8, 8)
    got = QSNet().decode(x)
    assert torch.equal(got.clean, x)
    assert all(not rain.any() for rain in got.auxiliary)
