"""The loss of a network with a memory, over the frames of short clips."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from derain.core.errors import NetworkError
from derain.core.sizes import Size
from derain.models.registry import NetworkFacts
from derain.models.video_network import VideoNetwork
from derain.training.losses import root_mean_square

# Part of the samples that forget: so that zeros are a good start. More would take
# capacity from what comes after it, which is nearly all that is ever seen.
FORGETFUL = 0.125
THROUGH = 4  # frames that errors go back through; those before only fill the memory
FLICKER = 0.3  # weight of what changes in the error from frame to frame


class ClipObjective:
    """`root_mean_square` of every frame after the first, through the frames before it.

    And that of the difference to the frame before's error, `FLICKER` times: what is
    left of the rain should not flicker. Of clips longer than `THROUGH`, a random number
    of frames at the start fill the memory only, so that what has been remembered for
    long is met, too. States are zeros before the first frame, and in a part of the
    samples again before a later one.
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
        spare = max(rainy.shape[1] - THROUGH, 0)
        first = int(torch.randint(spare + 1, ()))
        with torch.no_grad():
            for index in range(first):
                _, *states = video(rainy[:, index], *states)
        errors: list[Tensor] = []
        for index in range(first, min(first + THROUGH, rainy.shape[1])):
            picture, *states = video(rainy[:, index], *states)
            errors.append(picture - clean[:, index])
            if index == first:
                kept = torch.rand(len(rainy), device=rainy.device) >= FORGETFUL
                states = [
                    state * kept.view(-1, *[1] * (state.ndim - 1)) for state in states
                ]
        none = torch.zeros_like(errors[0])
        changes = [after - before for before, after in itertools.pairwise(errors)]
        terms = {"root_mean_square": errors[1:], "flicker": changes}
        weights = {"root_mean_square": 1.0, "flicker": FLICKER}
        return {
            name: weights[name]
            * torch.stack([root_mean_square(each, none) for each in term]).mean()
            for name, term in terms.items()
        }


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
