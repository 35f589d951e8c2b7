import math
import re

import pytest

torch = pytest.importorskip("torch", reason="training needs derain[train]")

from derain.models.networks.qsnet import QSNetOutput  # noqa: E402
from derain.models.networks.stagewise import StageWiseOutput  # noqa: E402
from derain.training import losses  # noqa: E402
from derain.training.perceptual import Perceptual  # noqa: E402


def _image(*values):
    """One picture of one row, the same in its three colours."""
    return torch.tensor(values, dtype=torch.float64).expand(1, 3, 1, -1)


def _flat(value, size=16):
    return torch.full((1, 3, size, size), value, dtype=torch.float64)


def test_l1_by_hand():
    # (0.1 + 0.3 + 0) / 3
    got = losses.l1(_image(0.1, 0.2, 0.5), _image(0.2, 0.5, 0.5))
    assert float(got) == pytest.approx(0.4 / 3)


def test_mse_by_hand():
    got = losses.mse(_image(0.1, 0.2, 0.5), _image(0.2, 0.5, 0.5))
    assert float(got) == pytest.approx(0.1 / 3)


def test_ssim_of_flat_pictures_by_hand():
    # Variances are zero: what is left is (2ab + c1) / (a^2 + b^2 + c1).
    got = losses.ssim(_flat(0.2), _flat(0.6))
    assert float(got) == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4))


def test_ssim_agrees_with_scikit_image():
    # skimage.metrics.structural_similarity 0.26, gaussian_weights, sigma 1.5,
    # use_sample_covariance False, data_range 1, of the valid region, of these pictures.
    y, x = torch.meshgrid(
        torch.arange(24, dtype=torch.float64),
        torch.arange(32, dtype=torch.float64),
        indexing="ij",
    )
    a = (0.5 + 0.4 * torch.sin(x / 3) * torch.cos(y / 4)).expand(1, 3, -1, -1)
    b = (0.5 + 0.3 * torch.sin(x / 3 + 0.4) * torch.cos(y / 5)).expand(1, 3, -1, -1)
    assert float(losses.ssim(a, b)) == pytest.approx(0.6843395465763259, abs=1e-9)


def test_ssim_does_not_fall_to_half_precision_under_autocast():
    a, b = torch.rand(2, 1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = losses.ssim(a, b)
    assert torch.equal(under_autocast, losses.ssim(a, b))


def test_stage_errors_sum_over_the_stages():
    # 0.1^2 + 0.2^2, no mean over the stages
    got = losses.stage_errors([_flat(0.1), _flat(0.4)], _flat(0.2))
    assert float(got) == pytest.approx(0.01 + 0.04)


def test_quasi_sparsity_by_hand():
    # A ramp of 0.1 a column: first difference 0.1, second 0, nothing down the rows;
    # the other layer has one step of 0.4 in three columns: 0.2 on average, then
    # the second difference, -0.4.
    ramp = torch.tensor([[0.0, 0.1, 0.2]] * 3, dtype=torch.float64).expand(1, 3, 3, 3)
    step = torch.tensor([[0.0, 0.4, 0.4]] * 3, dtype=torch.float64).expand(1, 3, 3, 3)
    assert float(losses.quasi_sparsity(ramp, step)) == pytest.approx(0.1 + 0.2 + 0.4)
    turned = losses.quasi_sparsity(ramp.mT, step.mT)
    assert float(turned) == pytest.approx(0.1 + 0.2 + 0.4)


def test_root_mean_square_is_taken_of_each_crop():
    crops = torch.cat([_flat(0.1), _flat(0.7)])
    got = losses.root_mean_square(crops, torch.zeros_like(crops))
    assert float(got) == pytest.approx(0.4, abs=1e-5)  # not the root of 0.25


def test_network_without_a_row_has_an_objective():
    objective = losses.objective_for("my.nets:Own")
    several = _Fixed(forward=(_flat(0.6), None))
    terms = objective(several, _flat(0.7), _flat(0.5))
    assert {name: float(x) for name, x in terms.items()} == {"l1": pytest.approx(0.1)}
    assert losses.objective_for("qsnet") is losses.qsnet_objective


def test_auxiliary_errors_are_a_mean_over_the_decoders():
    got = losses.auxiliary_errors([_flat(0.1), _flat(0.4)], _flat(0.2))
    assert float(got) == pytest.approx((0.01 + 0.04) / 2)


def test_detail_counts_rain_only_where_there_is_none():
    rain, true_rain = _image(0.3, 0.2, -0.6), _image(0.5, 0.005, -0.01)
    assert float(losses.detail(rain, true_rain)) == pytest.approx((0.2 + 0.6) / 3)


TERMS = [
    losses.l1,
    losses.mse,
    losses.ssim,
    losses.stage_errors,
    losses.quasi_sparsity,
    losses.auxiliary_errors,
    losses.detail,
    Perceptual,
]


@pytest.mark.parametrize("loss", [*TERMS, *losses.OBJECTIVES.values()])
def test_every_loss_says_where_it_stands(loss):
    text = " ".join(loss.__doc__.split())
    assert any(name in text for name in losses.OBJECTIVES)
    assert re.search(r"eq\. \d|sections? on the loss", text)


class _Fixed(torch.nn.Module):
    """Returns what it was given."""

    def __init__(self, **outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, rainy):
        return self.outputs["forward"]

    def decode(self, rainy):
        return self.outputs["decode"]

    def stages(self, rainy):
        return self.outputs["stages"]


def _total(model, name):
    terms = losses.OBJECTIVES[name](model, _flat(0.7), _flat(0.5))
    return float(sum(terms.values()))


FLAT_SSIM = (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4)


def test_qsnet_total_by_hand():
    out = QSNetOutput(_flat(0.6), _flat(0.1), tuple([_flat(0.1)] * 4 + [_flat(0.2)]))
    # content 0.1; no derivatives; auxiliary 4/5 of 0.1^2; rain everywhere: no detail
    wanted = 0.1 + 1e-2 * 0.8 * 0.01
    assert _total(_Fixed(decode=out), "qsnet") == pytest.approx(wanted)


def test_treefusion_total_by_hand():
    wanted = 0.4 * 0.01 + 0.6 * (1 - FLAT_SSIM)
    assert _total(_Fixed(forward=_flat(0.6)), "treefusion") == pytest.approx(wanted)


def test_stagewise_total_by_hand():
    out = StageWiseOutput(_flat(0.6), tuple([_flat(0.1)] * 12))
    wanted = 12 * 0.01 + 0.1 + (1 - FLAT_SSIM)
    assert _total(_Fixed(stages=out), "stagewise") == pytest.approx(wanted)


def test_stagewise_with_features_in_place_of_ssim():
    out = StageWiseOutput(_flat(0.6), tuple([_flat(0.1)] * 12))
    objective = losses.StageWiseObjective(lambda a, b: (a - b).abs().mean() * 5)
    terms = objective(_Fixed(stages=out), _flat(0.7), _flat(0.5))
    assert float(sum(terms.values())) == pytest.approx(12 * 0.01 + 0.1 + 0.5)


def test_granet_total_by_hand():
    assert _total(_Fixed(forward=_flat(0.6)), "granet") == pytest.approx(0.1)


def test_dcsfn_total_by_hand():
    assert _total(_Fixed(forward=_flat(0.6)), "dcsfn") == pytest.approx(-FLAT_SSIM)


@pytest.mark.parametrize("name", losses.OBJECTIVES)
def test_every_objective_trains_its_network(name):
    from derain.models.registry import create_model

    torch.manual_seed(0)
    model = create_model(name)
    rainy, clean = torch.rand(2, 1, 3, 32, 32)
    loss = sum(losses.OBJECTIVES[name](model, rainy, clean).values())
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert sum(float(norm) for norm in norms) > 0
