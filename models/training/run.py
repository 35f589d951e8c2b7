"""From folders of pictures to a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from derain.models.training.config import TrainingConfig
from derain.models.training.data import CropSource, Pair, picture_paths, side_by_side
from derain.models.training.loop import Trainer
from derain.runtime.errors import MediaError
from derain.runtime.pictures import read_picture

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured


def train(
    config: TrainingConfig,
    pairs: Path | None,
    clean: Path | None,
    folder: Path,
    report: Callable[[str], None],
) -> None:
    """Run the training that `config` describes, in `folder`.

    Args:
        config: The settings.
        pairs: Folder of side-by-side files.
        clean: Folder of photographs to render rain on.
        folder: Of the run; a run in it is resumed.
        report: Called with a line of text now and then.
    """
    training, validation = split(pairs) if pairs else ([], [])
    photographs = [read_picture(p) for p in picture_paths(clean)] if clean else []
    report(
        f"{len(training)} pairs to train on, {len(validation)} to validate, "
        f"{len(photographs)} photographs"
    )
    crops = CropSource(
        training,
        photographs,
        crop=config.crop,
        batch=config.batch,
        mixture=config.mixture,
        seed=config.seed,
        vertical_flips=config.vertical_flips,
    )
    Trainer(config, crops, validation, folder, report).run()


def split(folder: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and the middles of every 40th to validate on."""
    paths = picture_paths(folder)
    held = set(paths[VALIDATION_EVERY // 2 :: VALIDATION_EVERY])
    training = list(side_by_side([path for path in paths if path not in held]))
    if not training:
        raise MediaError(f"{folder} holds no pairs to train on")
    return training, [_middle(pair) for pair in side_by_side(sorted(held))]


def _middle(pair: Pair) -> Pair:
    height, width = pair.clean.shape[:2]
    top = max(height - VALIDATION_SIDE, 0) // 2
    left = max(width - VALIDATION_SIDE, 0) // 2
    rows = slice(top, top + VALIDATION_SIDE)
    columns = slice(left, left + VALIDATION_SIDE)
    return Pair(pair.name, pair.rainy[rows, columns], pair.clean[rows, columns])
