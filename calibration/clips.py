"""Frames in order, as a network with a memory sees them: clips, each of one scene.

Where another scene begins the memory begins anew, as it does when cameras run
(`derain.runtime.pipeline.stream_memory`); a network without one sees clips of one
frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derain.core.graph_memory import GraphMemory
from derain.runtime.pipeline.scene_cut import SceneCut
from derain.runtime.pipeline.stream_memory import MISSED

CLIP = 8  # frames


class Picture(NamedTuple):
    """A frame of a source.

    Attributes:
        name: What the source calls it.
        number: Its place there, from 0.
        image: `(H, W, 3)` uint8 BGR.
        clean: The same without rain, where it is known.
    """

    name: str
    number: int
    image: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None = None


def clip_length(memory: GraphMemory) -> int:
    """Frames of a clip: half of them fill the memory."""
    return max(CLIP, 2 * memory.window) if memory.states else 1


def least_length(memory: GraphMemory) -> int:
    """Frames below which a clip shows nothing of a memory."""
    if not memory.states:
        return 1
    return max(2, memory.window, memory.look_ahead + 1)


def runs(pictures: Iterable[Picture], length: int) -> Iterator[list[Picture]]:
    """`pictures` in runs of `length`; of fewer in front of a cut or a gap, and last."""
    cut = SceneCut()
    run: list[Picture] = []
    for picture in pictures:
        ends = length > 1 and cut.saw(picture.image)
        if run and (ends or _apart(run[-1], picture)):
            yield run
            run = []
        run.append(picture)
        if len(run) == length:
            yield run
            run = []
    if run:
        yield run


def _apart(before: Picture, after: Picture) -> bool:
    return (
        after.number - before.number > MISSED + 1
        or after.image.shape != before.image.shape
    )


def places(count: int, memory: GraphMemory) -> list[tuple[GraphMemory | None, bool]]:
    """For each of `count` frames of a clip what `HeldOut` calls start and judged."""
    first = max(count // 2, memory.look_ahead)
    return [(None if k else memory, k >= first) for k in range(count)]
