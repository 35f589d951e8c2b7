"""What PyTorch makes of a frame: the frame contract around a network, on any device.

The measure of every exported graph, and what training and evaluation look at.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derain.core.errors import NetworkError
from derain.core.frame_contract import PEAK, UNIT_RANGE, FrameContract, PadMode
from derain.core.frame_tensors import Frame
from derain.core.sizes import Size
from derain.models.registry import NetworkFacts

# PyTorch's names.
_MODES = {"reflect": "reflect", "edge": "replicate"}


class PictureNetwork(nn.Module):
    """A network whatever its habits, from rainy picture to derained picture.

    Args:
        network: Any module that takes `(N, 3, H, W)`.
        facts: What it returns.
    """

    def __init__(self, network: nn.Module, facts: NetworkFacts) -> None:
        super().__init__()
        self.network = network
        self.facts = facts

    def forward(self, image: Tensor) -> Tensor:
        """`(N, 3, H, W)` float in, the same out.

        Raises:
            NetworkError: The network returns something else than a picture.
        """
        return picture_of(self.network(image), self.facts, image)


def picture_of(result: object, facts: NetworkFacts, image: Tensor) -> Tensor:
    """The derained picture in what a network returns.

    Args:
        result: A tensor, several, or several by name.
        facts: Which is meant, and what it is.
        image: The rainy picture, `(N, 3, H, W)`.

    Raises:
        NetworkError: There is no picture in it.
    """
    outputs = outputs_of(result)
    if not -len(outputs) <= facts.output_index < len(outputs):
        raise NetworkError(
            f"the network returns {len(outputs)} outputs, wanted number "
            f"{facts.output_index} (counted from 0)"
        )
    result = outputs[facts.output_index]
    if not isinstance(result, Tensor):
        raise NetworkError(
            f"the network returns {type(result).__name__}, wanted a tensor"
        )
    if not result.is_floating_point():
        black, white = facts.value_range
        raise NetworkError(
            f"the network returns {result.dtype}, wanted floats from {black:g} to "
            f"{white:g}: let it return y.float(), scaled to that"
        )
    result = result.to(image.dtype)
    if result.ndim != 4 or result.shape[1] != 3:
        raise NetworkError(
            f"the network returns {tuple(result.shape)}, wanted the derained "
            f"picture, {tuple(image.shape)}"
        )
    return image - result if facts.returns_rain else result


def outputs_of(result: object) -> list[object]:
    """What a network returns as one list, whatever it is nested in, in its order."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if not isinstance(result, (list, tuple)):
        return [result]
    return [output for each in result for output in outputs_of(each)]


def to_picture(
    frame: Tensor,
    contract: FrameContract,
    *,
    dtype: torch.dtype = torch.float32,
    mode: PadMode | None = None,
) -> Tensor:
    """A frame as a network sees it, on the frame's device.

    Args:
        frame: `(H, W, 3)` uint8 BGR.
        contract: What the network wants.
        dtype: Of the result.
        mode: How padding is filled; None follows from the frame's size.

    Returns:
        `(1, 3, H', W')` in the range of `contract`.
    """
    height, width, _ = frame.shape
    x = frame.permute(2, 0, 1)[None].to(dtype) / PEAK
    if contract.value_range != UNIT_RANGE:
        x = x * (contract.scale * PEAK) + contract.value_range[0]
    if contract.colour == "rgb":
        x = x.flip(1)
    right, down, usual = contract.padding(Size(width, height))
    if not (right or down):
        return x
    return F.pad(x, (0, right, 0, down), mode=_MODES[mode or usual])


def to_frame(picture: Tensor, size: Size, contract: FrameContract) -> Tensor:
    """`(1, 3, H', W')` float -> `(H, W, 3)` uint8 BGR, the padding cut off."""
    y = picture[:, :, : size.height, : size.width].float()
    if contract.value_range != UNIT_RANGE:
        y = (y - contract.value_range[0]) / (contract.scale * PEAK)
    y = (y.clamp(0, 1) * PEAK).round()
    if contract.colour == "rgb":
        y = y.flip(1)
    return y[0].permute(1, 2, 0).to(torch.uint8).contiguous()


def derain_picture(network: nn.Module, facts: NetworkFacts, picture: Tensor) -> Tensor:
    """What `network` makes of a picture of `to_picture`, without gradients.

    Raises:
        NetworkError: It returns something else than a picture of that size.
    """
    # Two to three times as fast on a processor (DCSFN), and the same picture.
    x = picture.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y: Tensor = PictureNetwork(network, facts)(x)
    if y.shape != x.shape:
        raise NetworkError(
            f"the network returns {tuple(y.shape)}, wanted a picture of its input's "
            f"size, {tuple(x.shape)}"
        )
    return y


def derain_frame(
    network: nn.Module,
    facts: NetworkFacts,
    frame: Frame,
    mode: PadMode | None = None,
) -> Frame:
    """Derain one frame with PyTorch, under the same contract as an exported graph.

    Args:
        network: In eval mode, float32, on any device.
        facts: How to feed it.
        frame: `(H, W, 3)` uint8 BGR.
        mode: How padding is filled; None follows from the frame's size.

    Returns:
        The derained frame, same shape and dtype.
    """
    height, width, _ = frame.shape
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(device_of(network))
    picture = derain_picture(network, facts, to_picture(pixels, facts, mode=mode))
    derained: Frame = to_frame(picture, Size(width, height), facts).cpu().numpy()
    return derained


def device_of(network: nn.Module) -> torch.device:
    """Where the tensors of `network` are; the processor where it has none."""
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")
