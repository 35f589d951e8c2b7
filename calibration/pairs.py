"""Pairs of pictures to measure on: in the rain, and the same without."""

from __future__ import annotations

from pathlib import Path

from derain.calibration.clips import (
    Picture,
    clip_length,
    least_length,
    places,
    runs,
)
from derain.calibration.frame_store import fit
from derain.calibration.scoring import HeldOut
from derain.core.errors import CalibrationError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.pairs import open_pairs
from derain.core.sizes import Size

PAIRS = 16  # measured at most, taken evenly
CLIPS = 4  # of pairs in order, for a network with a memory; half of them count


def read_held_out(
    folder: Path, size: Size, memory: GraphMemory = NO_MEMORY
) -> list[HeldOut]:
    """Up to `PAIRS` pairs of `folder`, or `CLIPS` clips, as a `Scorer` wants them.

    Args:
        folder: Of pairs; see `open_pairs`.
        size: That they are fitted to.
        memory: Of the network.

    Raises:
        CalibrationError: The network has a memory, and no pairs are in order.
        MediaError: See `open_pairs`.
        ShapeError: See `open_pairs`.
    """
    pairs = (
        Picture(pair.name, index, pair.rainy, pair.clean)
        for index, pair in enumerate(
            open_pairs(folder, None if memory.states else PAIRS)
        )
    )
    least = least_length(memory)
    kept: list[list[Picture]] = []
    stride, count = 1, 0
    for run in runs(pairs, clip_length(memory)):
        if len(run) < least:
            continue
        if count % stride == 0:
            kept.append(run)
        count += 1
        if memory.states and len(kept) == 2 * CLIPS:  # every other goes
            kept, stride = kept[::2], 2 * stride
    if not kept:
        raise CalibrationError(
            f"{folder} has no {least} pairs in order that show one scene, which a "
            "network with a memory is measured on; leave --pairs out"
        )
    found = []
    for run in _evenly(kept) if memory.states else kept:
        for index, (start, judged) in enumerate(places(len(run), memory)):
            rainy, clean = run[index].image, run[max(0, index - memory.look_ahead)]
            assert clean.clean is not None
            found.append(
                HeldOut(
                    fit(rainy, size),
                    fit(clean.clean, size),
                    min(rainy.shape[0], size.height),
                    min(rainy.shape[1], size.width),
                    start,
                    judged,
                )
            )
    return found


def _evenly(kept: list[list[Picture]]) -> list[list[Picture]]:
    most = min(CLIPS, len(kept))
    return [kept[k * len(kept) // most] for k in range(most)]
