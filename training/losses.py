"""The losses: one function a term, and one objective a network.

A new one is an `Objective` here, and its row in `OBJECTIVES`; a network without a row
is trained with `picture_objective`.

Every ``|.|`` is a mean over elements. Pictures are `(N, 3, H, W)` float in [0, 1].

Each docstring says where its formula stands, by the network of the paper:

qsnet       "Multi-Decoding Deraining Network and Quasi-Sparsity Based Training", CVPR
            2021, arXiv:1812.08348, by equation
treefusion  Fu et al., "A deep tree-structured fusion model for single image deraining",
            2018, arXiv:1811.08632, the section on its loss
stagewise   Wang et al., "From Coarse to Fine: A Stage-Wise Deraining Net", IEEE Access
            2019, the section on its loss
granet      Yu et al., "Gradual Network for Single Image De-raining", MM 2019, the
            section on its loss
dcsfn       Wang et al., "DCSFN: Deep Cross-scale Fusion Network for Single Image Rain
            Removal", MM 2020, the section on its loss
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Maps a network, a rainy and a clean batch to the terms of its loss, weights included.
Objective = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
PictureLoss = Callable[[Tensor, Tensor], Tensor]


def l1(image: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute difference.

    Of granet (section on the loss), in qsnet L_C (eq. 8 to 13), and of the refinement
    in stagewise (section on the loss).
    """
    return (image - clean).abs().mean()


def mse(image: Tensor, clean: Tensor) -> Tensor:
    """Mean squared difference.

    Of treefusion (section on the loss), and inside `stage_errors` and
    `auxiliary_errors`.
    """
    return (image - clean).square().mean()


def root_mean_square(image: Tensor, clean: Tensor) -> Tensor:
    """Mean over the crops of the root of their mean squared difference.

    Of no deraining paper. Where rain is on few pixels, the median of what to take off
    is nothing: L1 alone gained 0.2 dB in 150 steps on 24 batches, this 2.7 dB.
    """
    return (image - clean).square().mean((1, 2, 3)).add(1e-6).sqrt().mean()


def ssim(image: Tensor, clean: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Mean structural similarity, each colour by itself, where the window fits.

    Wang et al., "Image quality assessment: from error visibility to structural
    similarity", 2004, eq. 13; K1 0.01, K2 0.03, of values in [0, 1]. Of treefusion and
    dcsfn (sections on the loss). In float32 at least, whatever autocast says: variances
    are small differences of large numbers.
    """
    with torch.autocast(image.device.type, enabled=False):
        wide = [x.float() if x.dtype.itemsize < 4 else x for x in (image, clean)]
        return _ssim(wide[0], wide[1], window, sigma)


def _ssim(image: Tensor, clean: Tensor, window: int, sigma: float) -> Tensor:
    at = torch.arange(window, dtype=image.dtype, device=image.device) - window // 2
    weights = torch.exp(-at.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    channels = image.shape[1]
    column = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, column, groups=channels), row, groups=channels)

    mean_a, mean_b = blur(image), blur(clean)
    var_a = blur(image.square()) - mean_a.square()
    var_b = blur(clean.square()) - mean_b.square()
    covariance = blur(image * clean) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    return (
        (2 * mean_a * mean_b + c1)
        * (2 * covariance + c2)
        / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))
    ).mean()


def stage_errors(rains: Sequence[Tensor], rain: Tensor) -> Tensor:
    """Sum over the stages of MSE(R_t, R), equal weights.

    Of stagewise (section on the loss).
    """
    return torch.stack([mse(stage, rain) for stage in rains]).sum()


def quasi_sparsity(rain: Tensor, clean: Tensor) -> Tensor:
    """L_Q: first and second derivatives of both layers are sparse.

    Of qsnet (eq. 8 to 13, which leave the reduction open). The sum of eight means:
    horizontal and vertical, [-1, 1] and [1, -2, 1], of the rain and of the derained
    picture.
    """
    means = []
    for layer in (rain, clean):
        for axis in (-1, -2):
            first = layer.diff(dim=axis)
            means += [first.abs().mean(), first.diff(dim=axis).abs().mean()]
    return torch.stack(means).sum()


def auxiliary_errors(rains: Sequence[Tensor], rain: Tensor) -> Tensor:
    """L_A: mean over the auxiliary decoders of MSE(R_i, I - B).

    Of qsnet (eq. 12).
    """
    return torch.stack([mse(layer, rain) for layer in rains]).mean()


def detail(rain: Tensor, true_rain: Tensor, threshold: float = 0.01) -> Tensor:
    """L_D: rain where there is none, ``|(1 - L) * R|``.

    Of qsnet (eq. 8 to 13). L, the rain location map, is 1 where ``|I - B|`` exceeds
    `threshold`.
    """
    return ((true_rain.abs() <= threshold) * rain).abs().mean()


def picture_objective(
    model: nn.Module, rainy: Tensor, clean: Tensor
) -> dict[str, Tensor]:
    """L1 on the final picture, not a coarse one (granet, section on the loss)."""
    return {"l1": l1(_picture(model, rainy), clean)}


def warm_up_objective(
    model: nn.Module, rainy: Tensor, clean: Tensor
) -> dict[str, Tensor]:
    """`root_mean_square` of the picture, for the first steps of any network."""
    return {"root_mean_square": root_mean_square(_picture(model, rainy), clean)}


def _picture(model: nn.Module, rainy: Tensor) -> Tensor:
    """The picture that a network returns; the first where it returns several."""
    out: Any = model(rainy)
    return cast(Tensor, out if isinstance(out, Tensor) else out[0])


def qsnet_objective(
    model: nn.Module, rainy: Tensor, clean: Tensor
) -> dict[str, Tensor]:
    """1 L_C + 1e-3 L_Q + 1e-2 L_A + 1e-4 L_D (qsnet, eq. 8 to 13)."""
    out = cast(Any, model).decode(rainy)
    true_rain = rainy - clean
    return {
        "content": l1(out.clean, clean),
        "quasi_sparsity": 1e-3 * quasi_sparsity(out.rain, out.clean),
        "auxiliary": 1e-2 * auxiliary_errors(out.auxiliary, true_rain),
        "detail": 1e-4 * detail(out.rain, true_rain),
    }


def treefusion_objective(
    model: nn.Module, rainy: Tensor, clean: Tensor
) -> dict[str, Tensor]:
    """0.4 MSE + 0.6 (1 - SSIM) (treefusion, section on the loss)."""
    image = model(rainy)
    return {"mse": 0.4 * mse(image, clean), "ssim": 0.6 * (1 - ssim(image, clean))}


def dcsfn_objective(
    model: nn.Module, rainy: Tensor, clean: Tensor
) -> dict[str, Tensor]:
    """Negative SSIM (dcsfn, section on the loss)."""
    return {"negative_ssim": -ssim(model(rainy), clean)}


class StageWiseObjective:
    """Sum of MSE(R_t, R) over the stages + L1(refined, clean) + a perceptual term.

    Of stagewise (section on the loss).
    """

    def __init__(self, perceptual: PictureLoss | None = None) -> None:
        """Choose the last term.

        Args:
            perceptual: L1 on VGG features; None puts 1 - SSIM in its place.
        """
        self._perceptual = perceptual

    def __call__(
        self, model: nn.Module, rainy: Tensor, clean: Tensor
    ) -> dict[str, Tensor]:
        """See `Objective`."""
        out = cast(Any, model).stages(rainy)
        terms = {
            "stages": stage_errors(out.rains, rainy - clean),
            "refinement": l1(out.clean, clean),
        }
        if self._perceptual is None:
            return terms | {"ssim": 1 - ssim(out.clean, clean)}
        return terms | {"vgg": self._perceptual(out.clean, clean)}


OBJECTIVES: dict[str, Objective] = {
    "qsnet": qsnet_objective,
    "stagewise": StageWiseObjective(),
    "treefusion": treefusion_objective,
    "granet": picture_objective,
    "dcsfn": dcsfn_objective,
}


def objective_for(model: str) -> Objective:
    """The loss of the network's paper, or `picture_objective`."""
    return OBJECTIVES.get(model, picture_objective)
