"""L1 on the features of a VGG-16, for which a checkpoint must be given.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
recognition", 2015. The tensor names are those of torchvision's ``vgg16`` checkpoints.
The deraining papers do not say which features they take; here they are those after the
third block's last ReLU (relu3_3), as in Johnson et al., "Perceptual losses", 2016.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from derain.core.errors import CheckpointError
from derain.models.checkpoint import read_checkpoint

_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256)  # 0 is a pool
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB


def _layers() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width in _WIDTHS:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Perceptual(nn.Module):
    """Mean absolute difference of relu3_3 features.

    Of stagewise (Wang et al. 2019, section on the loss); the layer is our choice.
    """

    def __init__(self, checkpoint: Path) -> None:
        """Load the first three blocks of a VGG-16.

        Args:
            checkpoint: A torchvision ``vgg16`` checkpoint.

        Raises:
            CheckpointError: It is none.
        """
        super().__init__()
        self.features = _layers().eval().requires_grad_(False)
        try:
            state: Any = read_checkpoint(checkpoint)
            self.features.load_state_dict(
                {name: state[f"features.{name}"] for name in self.features.state_dict()}
            )
        except (CheckpointError, KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{checkpoint} is not a VGG-16 checkpoint of torchvision: {reason}"
            ) from error

    def forward(self, image: Tensor, clean: Tensor) -> Tensor:
        """The distance of two batches `(N, 3, H, W)`, RGB in [0, 1]."""
        self.to(image.device)
        a, b = (self._features(x) for x in (image, clean))
        return F.l1_loss(a, b)

    def _features(self, x: Tensor) -> Tensor:
        mean = x.new_tensor(_MEAN).view(1, 3, 1, 1)
        std = x.new_tensor(_STD).view(1, 3, 1, 1)
        features: Tensor = self.features((x - mean) / std)
        return features
