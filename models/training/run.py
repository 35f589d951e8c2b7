"""From folders of pictures to a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from derain.models.training.config import TrainingConfig
from derain.models.training.data import CropSource, Pair, open_pairs, picture_paths
from derain.models.training.loop import Trainer
from derain.models.training.losses import StageWiseObjective
from derain.models.training.perceptual import Perceptual
from derain.runtime.pictures import read_picture

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured


def train(
    config: TrainingConfig,
    pairs: Path | None,
    clean: Path | None,
    folder: Path,
    report: Callable[[str], None],
    vgg: Path | None = None,
) -> None:
    """Run the training that `config` describes, in `folder`.

    Args:
        config: The settings.
        pairs: Folder of pairs, as `open_pairs` reads it.
        clean: Folder of photographs to render rain on.
        folder: Of the run; a run in it is resumed.
        report: Called with a line of text now and then.
        vgg: Checkpoint of a VGG-16, where ``config.vgg`` asks for one.

    Raises:
        DerainError: The pictures, the checkpoint or the run cannot be read.
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
    objective = StageWiseObjective(Perceptual(vgg)) if vgg else None
    Trainer(config, crops, validation, folder, report, objective).run()


def split(folder: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and the middles of every 40th to validate on."""
    training, validation = [], []
    for index, pair in enumerate(open_pairs(folder)):
        if index % VALIDATION_EVERY == VALIDATION_EVERY // 2:
            validation.append(_middle(pair))
        else:
            training.append(pair)
    return training, validation


def _middle(pair: Pair) -> Pair:
    height, width = pair.clean.shape[:2]
    top = max(height - VALIDATION_SIDE, 0) // 2
    left = max(width - VALIDATION_SIDE, 0) // 2
    rows = slice(top, top + VALIDATION_SIDE)
    columns = slice(left, left + VALIDATION_SIDE)
    return Pair(pair.name, pair.rainy[rows, columns], pair.clean[rows, columns])
