import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from derain.core.metrics import psnr_db
from derain.core.pictures import read_picture
from derain.models.checkpoint import load_checkpoint
from derain.models.networks.nledn import NLEDN
from support.plain_networks import attention_by_chunks, convolve, picture, randomized

GRIDS = {"up_1": 8, "up_2": 4, "up_3": 2, "down_3": 1, "down_2": 2, "down_1": 4}


def _attention(block):
    whole = "non_local"
    return whole if GRIDS[block] == 1 else "region_non_local.non_local_block"


def _shapes():
    """Names and shapes of the authors' checkpoints, 122 tensors."""
    wanted = {}

    def conv(name, outputs, inputs, kernel):
        wanted[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        wanted[f"{name}.bias"] = (outputs,)

    conv("conv1", 64, 3, 3)
    conv("conv2", 64, 64, 3)
    for block in GRIDS:
        for name in ("g.0", "theta", "phi.0"):
            conv(f"{block}.{_attention(block)}.{name}", 32, 64, 1)
        conv(f"{block}.{_attention(block)}.W", 64, 32, 1)
        for k in range(4):
            conv(f"{block}.group_{k}.0", 32, 64 + 32 * k, 3)
        conv(f"{block}.fusion.0", 64, 192, 1)
    conv("down_2_fusion", 64, 128, 1)
    conv("down_1_fusion", 64, 128, 1)
    conv("fusion.0", 64, 192, 1)
    conv("fusion.1", 64, 64, 3)
    conv("final_conv.0", 3, 64, 3)
    return wanted


def test_tensors_are_those_of_the_checkpoints():
    with torch.device("meta"):
        state = NLEDN().state_dict()
    assert {name: tuple(x.shape) for name, x in state.items()} == _shapes()
    assert len(state) == 122


def test_forward_is_that_of_the_release():
    network = randomized(NLEDN(), gain=0.7)
    state = network.state_dict()

    def conv(name, *maps):
        return convolve(state, name, torch.cat(maps, 1))

    def dense(name, x):
        # Region by region, as `torch.chunk` cuts them in the authors' code.
        root = f"{name}.{_attention(name)}"
        rows = []
        for row in x.chunk(GRIDS[name], 2):
            cells = []
            for cell in row.chunk(GRIDS[name], 3):
                phi = F.max_pool2d(conv(f"{root}.phi.0", cell), 2)
                g = F.max_pool2d(conv(f"{root}.g.0", cell), 2)
                y = attention_by_chunks(conv(f"{root}.theta", cell), phi, g, 1)
                cells.append(conv(f"{root}.W", y) + cell)
            rows.append(torch.cat(cells, 3))
        maps = [torch.cat(rows, 2)]
        for k in range(4):
            maps.append(conv(f"{name}.group_{k}.0", *maps).relu())
        return conv(f"{name}.fusion.0", *maps) + x

    def pool(x):
        return F.max_pool2d(x, 2, return_indices=True)

    image = picture(32, 48, n=2)
    first = conv("conv1", image)
    features = conv("conv2", first)
    u1 = dense("up_1", features)
    p1, i1 = pool(u1)
    p2, i2 = pool(dense("up_2", p1))
    p3, i3 = pool(dense("up_3", p2))
    x = F.max_unpool2d(dense("down_3", p3), i3, 2)
    x = F.max_unpool2d(dense("down_2", conv("down_2_fusion", p2, x)), i2, 2)
    x = F.max_unpool2d(dense("down_1", conv("down_1_fusion", p1, x)), i1, 2)
    x = conv("fusion.1", conv("fusion.0", features, x, u1)) + first
    rain = conv("final_conv.0", x).tanh()

    torch.testing.assert_close(network.rain(image), rain, atol=1e-4, rtol=1e-4)
    wanted = (image - rain).clamp(0, 1)
    torch.testing.assert_close(network(image), wanted, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def published(shared_folder):
    path = shared_folder / "checkpoints" / "nledn_rain100l.pth"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    network = NLEDN().eval()
    network.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert len(load_checkpoint(NLEDN(), path)) == 64
    return network


def _derain(network, image):
    """BGR uint8 in and out."""
    x = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = network(x)[0].permute(1, 2, 0) * 255
    return y.round().byte().numpy()[:, :, ::-1]


def _streaks(height, width):
    """Light rain, `(height, width, 1)` float in [0, 1]: thin, soft, slanted lines."""
    random = np.random.default_rng(0)
    rain = np.zeros((height, width), np.float32)
    for _ in range(height * width // 500):
        x, y, length = (int(random.integers(n)) for n in (width, height, 24))
        light = float(random.uniform(0.3, 0.6))
        cv2.line(rain, (x, y), (x + length // 6, y + length), light)
    return cv2.GaussianBlur(rain, (3, 3), 0.6)[..., None]


@pytest.mark.parametrize("name", ["100007", "108004", "134008"])
def test_published_weights_remove_light_rain(published, shared_data, name):
    path = shared_data / "clean" / f"{name}.jpg"
    clean = read_picture(path)[64:224, 64:224]
    rainy = clean + 255 * _streaks(*clean.shape[:2])
    rainy = np.clip(rainy, 0, 255).round().astype(np.uint8)
    before, after = psnr_db(rainy, clean), psnr_db(_derain(published, rainy), clean)
    assert after >= 30
    assert after > before + 5
    # What has no rain stays as it is, but for what resembles it; 40.3 dB at the least.
    assert psnr_db(_derain(published, clean), clean) >= 38
