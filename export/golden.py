"""The golden clip of a bundle: rainy frames, and what its graph makes of them."""

from __future__ import annotations

from pathlib import Path

from derain.core.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT
from derain.core.frame_tensors import Frame
from derain.core.pictures import write_picture
from derain.export import verify
from derain.export.frames import LEAST_CLIP
from derain.export.options import ExportOptions
from derain.export.reference import Reference
from derain.export.to_onnx import CoreGraph
from derain.models.loading import LoadedNetwork


def golden_clip(
    path: Path,
    loaded: LoadedNetwork,
    core: CoreGraph,
    reference: Reference,
    got: list[Frame],
    options: ExportOptions,
) -> tuple[list[Frame], list[Frame]]:
    """Rainy frames, and what the file at `path` makes of them."""
    size = options.sizes.optimum
    shape = (size.height, size.width, 3)
    places = [k for k, each in enumerate(reference.frames) if each.shape == shape]
    if loaded.video is None:
        return [reference.frames[places[0]]], [got[places[0]]]
    count = max(LEAST_CLIP, loaded.video.window)
    rainy = [reference.frames[k] for k in places[:count]]
    late = loaded.video.look_ahead
    fed = [*rainy, *[rainy[-1]] * late]
    quantised = options.precision == "int8"
    derained = verify.run_graph(path, fed, core.memory, as_written=quantised)
    return rainy, derained[late:]


def write_golden(
    folder: Path, frames: list[Frame], derained: list[Frame]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the golden frames; returns the names of their files."""

    def write(name: str, pictures: list[Frame]) -> tuple[str, ...]:
        names = [name]
        if len(pictures) > 1:
            digits = len(str(len(pictures) - 1))
            stem, _, suffix = name.partition(".")
            names = [f"{stem}-{k:0{digits}}.{suffix}" for k in range(len(pictures))]
        for each, picture in zip(names, pictures, strict=True):
            write_picture(folder / each, picture)
        return tuple(names)

    return write(GOLDEN_INPUT, frames), write(GOLDEN_OUTPUT, derained)
