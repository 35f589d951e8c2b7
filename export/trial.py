"""A short run before a long export: does the network make a picture, and which output?

At a small size that leaves the same remainders as the frame does, so that what fails
with the frame fails here, in a second and not in minutes; the `--multiple-of` that
helps is found by trying.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from derain.core.errors import DerainError, NetworkError
from derain.core.frame_tensors import Frame
from derain.core.metrics import CEILING_DB, psnr_of_mse
from derain.core.sizes import ANY_SIZE, Size, SizeRange
from derain.core.synthetic.rain import rainy_clip
from derain.export import verify
from derain.export.memory_need import require_memory
from derain.models.loading import LoadedNetwork
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import derain_frame, outputs_of, to_picture
from derain.models.users_code import users_code
from derain.models.video_stream import VideoStream

_log = logging.getLogger(__name__)

# Sides are taken modulo this: what halves six times, or cuts 8x8 windows after three
# halvings, sees the same remainder.
_MODULUS = 64
_LEAST = 64  # pixels; a frame that is not much larger is tried as it is
# Halvings, and windows of 7, 10 and 12 at up to three of them.
_MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 7, 14, 28, 56, 10, 20, 40, 12, 24, 48, 96)
_MINIMA = (16, 32, 64, 128, 256)
_SHOWN = 8


def try_network(
    loaded: LoadedNetwork, sizes: SizeRange, output_index: int | None
) -> LoadedNetwork:
    """Run a network of the user's own on small frames.

    Args:
        loaded: The network.
        sizes: Of the frames it is exported for.
        output_index: Which output the user says is meant; None if nothing is said.

    Returns:
        `loaded`, and in its facts which output is the picture.

    Raises:
        NetworkError: It fails, or returns no picture of its input's size, or another
            picture each time; the message says what to do.
        ExportError: Frames of `sizes` take more memory than there is.
    """
    at = sizes.optimum
    if loaded.video is None:
        for size in _tried(sizes):
            at = _fitting(loaded, size)
        index = _chosen(loaded, at, output_index)
        loaded = replace(loaded, facts=replace(loaded.facts, output_index=index))
    else:
        at = _small(at, loaded.facts)
    _require_repeats(loaded, at)
    # Nobody has said that there will be frames of 4096x4096.
    largest = sizes.optimum if sizes == ANY_SIZE else sizes.maximum
    require_memory(lambda: _derain(loaded, _frame(at)), at, largest)
    return loaded


def _tried(sizes: SizeRange) -> list[Size]:
    """What stands for all `sizes`; the optimum, which outputs are told by, last."""
    low = sizes.minimum
    if sizes.is_static:
        return [low]
    odd = Size(low.width + 1, low.height + 1)
    return [low, odd, sizes.optimum] if odd in sizes else [low, sizes.optimum]


def _small(size: Size, facts: NetworkFacts, least: int = _LEAST) -> Size:
    """A size of the same remainders as `size`, not below `least` where it is not."""

    def side(length: int) -> int:
        low = max(least, facts.smallest)
        return low + (length - low) % _MODULUS if length > low else length

    return Size(side(size.width), side(size.height))


def _fitting(loaded: LoadedNetwork, size: Size) -> Size:
    """A size, small or `size`, at which the network returns a picture.

    Raises:
        NetworkError: It fails, or has no picture of its input's size.
    """
    facts, problem = loaded.facts, NetworkError("")
    # The larger one for networks that shrink a picture to nothing.
    tried = dict.fromkeys(_small(size, facts, least) for least in (_LEAST, 4 * _LEAST))
    for small in tried:
        try:
            _require_picture(loaded, facts, small)
            return small
        except NetworkError as error:
            if isinstance(error.__cause__, ImportError):
                raise  # at any size
            problem = error
    small = list(tried)[-1]
    if solution := _solution(loaded, small):
        raise NetworkError(f"{problem}; {solution} solves it") from problem
    if small == size:
        raise problem
    _require_picture(loaded, facts, size)  # it may be made for that size alone
    return size


def _solution(loaded: LoadedNetwork, size: Size) -> str:
    """The option that pads frames of `size` least so that they fit; empty: none."""
    facts, shortest = loaded.facts, min(size.width, size.height)
    options = {
        f"--multiple-of {each}": replace(facts, multiple_of=each)
        for each in _MULTIPLES
        if each % facts.multiple_of == 0 and each > facts.multiple_of
    }
    options |= {
        f"--minimum {each}": replace(facts, minimum=each)
        for each in _MINIMA
        if each > max(shortest, facts.minimum)
    }

    def cost(name: str) -> tuple[bool, int]:  # windows of 7, 10 and 12 are rare
        unit = options[name].multiple_of
        return unit & (unit - 1) > 0, options[name].padded(size).pixels

    for name in sorted(options, key=cost):
        if options[name].padded(size) == facts.padded(size):
            continue
        try:
            _require_picture(loaded, options[name], size)
        except DerainError:
            continue
        return name
    return ""


def _require_picture(loaded: LoadedNetwork, facts: NetworkFacts, size: Size) -> None:
    outputs, picture = _run(loaded, facts, size)
    if not _pictures(outputs, picture):
        raise NetworkError(
            f"{type(loaded.network).__name__} returns {_listed(outputs)}, wanted a "
            f"picture of its input's size, {tuple(picture.shape)}"
        )


def _run(
    loaded: LoadedNetwork, facts: NetworkFacts, size: Size
) -> tuple[list[Any], Tensor]:
    """All that the network returns, and the picture that it is given."""
    picture = to_picture(torch.from_numpy(_frame(size)), facts)
    kind = type(loaded.network).__name__
    padded = Size(picture.shape[3], picture.shape[2])
    with torch.no_grad(), users_code(f"running {kind} on a picture of {padded}"):
        return outputs_of(loaded.network(picture)), picture


def _chosen(loaded: LoadedNetwork, size: Size, given: int | None) -> int:
    """The output that is the picture.

    Raises:
        NetworkError: There is none, or it is no picture.
    """
    outputs, picture = _run(loaded, loaded.facts, size)
    kind, pictures = type(loaded.network).__name__, _pictures(outputs, picture)
    if given is not None:
        index = given if given >= 0 else len(outputs) + given
        if index not in pictures:
            raise NetworkError(
                f"{kind} has no picture of its input's size as output {given}: it "
                f"returns {_listed(outputs)}; --output-index {pictures[0]} is one"
            )
    else:
        index = _likely(outputs, pictures, picture)
    if given is None and len(pictures) > 1:
        shown = {k: outputs[k] for k in pictures[:_SHOWN]}
        _log.warning(
            f"{kind} returns {len(pictures)} pictures: output {index} is taken; "
            f"--output-index takes another; {_distances(shown, picture, loaded.facts)}"
        )
    elif given is None and len(outputs) > 1:
        _log.warning(
            f"{kind} returns {len(outputs)} outputs: {index} is taken, the one picture "
            "of its input's size"
        )
    if outputs[index].data_ptr() == picture.data_ptr():
        raise NetworkError(f"{kind} returns its input as it is: it derains nothing")
    return index


def _likely(outputs: Sequence[Any], pictures: list[int], picture: Tensor) -> int:
    """Which of `pictures` is the derained one, where nobody says it.

    The first that is nearer to the frame than to nothing: a rain layer is not. Where
    none is, as with weights that are not trained, the first.
    """
    if len(pictures) == 1:
        return pictures[0]

    def is_derained(output: Tensor) -> bool:
        if output.device != picture.device:
            return False
        left = output.double()  # booleans, too, which is told of later
        away = left - picture
        return float(away.square().mean()) < float(left.square().mean())

    return next((k for k in pictures if is_derained(outputs[k])), pictures[0])


def _pictures(outputs: Sequence[Any], picture: Tensor) -> list[int]:
    """Which outputs are of the size of `picture`."""
    return [
        k
        for k, each in enumerate(outputs)
        if isinstance(each, Tensor) and each.shape == picture.shape
    ]


def _distances(
    outputs: Mapping[int, Tensor], picture: Tensor, facts: NetworkFacts
) -> str:
    """How far each output is from the picture that went in, as it is and taken off it.

    A derained picture is near; a rain layer is far, and near once it is taken off.
    """

    def decibels(difference: Tensor) -> str:
        levels = difference.double() / facts.scale
        return f"{psnr_of_mse(float(levels.square().mean()), CEILING_DB):.1f}"

    # What is taken off the picture is all that it then is from it.
    texts = [
        f"{k}: {decibels(each - picture)} and {decibels(each)}"
        for k, each in outputs.items()
    ]
    return (
        "how near each is to the frame, and the frame without it, in dB: "
        + ", ".join(texts)
    )


def _listed(outputs: Sequence[Any]) -> str:
    """The outputs for a message, by their numbers where there are several."""
    texts = [
        str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__
        for each in outputs
    ]
    if len(texts) == 1:
        return texts[0]
    shown = ", ".join(f"{k}: {text}" for k, text in enumerate(texts[:_SHOWN]))
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return f"{shown}{more}" if texts else "nothing"


def _frame(size: Size) -> Frame:
    rainy, _ = next(iter(rainy_clip(size, 1)))
    return rainy


def _derain(loaded: LoadedNetwork, frame: Frame) -> Frame:
    with users_code(f"running {type(loaded.network).__name__}"):
        if loaded.video is not None:
            return VideoStream(loaded.video).derain(frame)
        return derain_frame(loaded.network, loaded.facts, frame)


def _require_repeats(loaded: LoadedNetwork, size: Size) -> None:
    """Raise unless PyTorch makes the same of one frame twice, another one between."""
    frame = _frame(size)
    first, _, again = (_derain(loaded, each) for each in (frame, 255 - frame, frame))
    result = verify.compare([again], [first])
    if verify.is_fp32(result):  # kernels that add in any order may round differently
        return
    raise NetworkError(
        f"{type(loaded.network).__name__} gives another picture each time: twice the "
        f"same frame, {result.identical:.3%} of pixels identical, largest difference "
        f"{result.max_levels} levels; a network must not keep a state between frames "
        "(a buffer or attribute; forward takes and returns states) nor draw random "
        "numbers (a dropout that is left on)"
    )
