"""The loss of a network with a memory, over the frames of short clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from derain.core.errors import NetworkError
from derain.core.sizes import Size
from derain.models.registry import NetworkFacts
from derain.models.video_network import VideoNetwork
from derain.training.losses import root_mean_square

# Part of the samples that forget the first frame: so that zeros are a good start. More
# would take capacity from what comes after it, which is nearly all that is ever seen.
FORGETFUL = 0.125


class ClipObjective:
    """`root_mean_square` of every frame after the first, through all frames before it.

    States are zeros before the first frame, and in a part of the samples before the
    second one, too.
    """

    def __init__(self, facts: NetworkFacts) -> None:
        """Note how to feed the network.

        Args:
            facts: Of the network.
        """
        self._facts = facts

    def __call__(
        self, model: nn.Module, rainy: Tensor, clean: Tensor
    ) -> dict[str, Tensor]:
        """The loss of clips, each `(N, frames, 3, H, W)`.

        Raises:
            NetworkError: A state is not of one row for each sample.
        """
        video = VideoNetwork(model, self._facts)
        states = start_states(video, rainy[:, 0])
        errors = []
        for index in range(rainy.shape[1]):
            picture, *states = video(rainy[:, index], *states)
            if index:
                errors.append(root_mean_square(picture, clean[:, index]))
            else:
                kept = torch.rand(len(rainy), device=rainy.device) >= FORGETFUL
                states = [
                    state * kept.view(-1, *[1] * (state.ndim - 1)) for state in states
                ]
        return {"root_mean_square": torch.stack(errors).mean()}


def start_states(video: VideoNetwork, frames: Tensor) -> list[Tensor]:
    """Zeros for the states of a batch of `frames`, `(N, 3, H, W)`.

    Raises:
        NetworkError: A state is not of one row for each sample.
    """
    shapes = video.shapes(Size(frames.shape[-1], frames.shape[-2]))
    for shape in shapes:
        if shape[0] != 1:
            raise NetworkError(
                f"{video.kind}.states says {shape}, wanted 1 as the first length, the "
                "batch's: it is trained on several clips at once"
            )
    return [frames.new_zeros((len(frames), *shape[1:])) for shape in shapes]
