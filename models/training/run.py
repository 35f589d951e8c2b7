"""From folders of pictures to a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from derain.models.training.config import TrainingConfig
from derain.models.training.data import (
    CropSource,
    Pair,
    Picture,
    open_pairs,
    picture_paths,
)
from derain.models.training.loop import Trainer
from derain.models.training.losses import StageWiseObjective
from derain.models.training.pack import (
    SUFFIX,
    middle,
    packed_pairs,
    packed_photographs,
)
from derain.models.training.perceptual import Perceptual
from derain.runtime.bundle import sha256
from derain.runtime.errors import CheckpointError
from derain.runtime.pictures import read_picture

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured


def train(
    config: TrainingConfig,
    pairs: Path | None,
    clean: Path | None,
    folder: Path,
    report: Callable[[str], None],
    *,
    weights: Path | None = None,
    vgg: Path | None = None,
) -> None:
    """Run the training that `config` describes, in `folder`.

    Args:
        config: The settings.
        pairs: Folder of pairs, as `open_pairs` reads it, or a pack.
        clean: Folder of photographs to render rain on, or a pack.
        folder: Of the run; a run in it is resumed.
        report: Called with a line of text now and then.
        weights: Checkpoint to start from, of the hash in ``config.first_weights``.
        vgg: Checkpoint of a VGG-16, where ``config.vgg`` asks for one.

    Raises:
        DerainError: The pictures, the checkpoint or the run cannot be read.
    """
    training, validation = split(pairs) if pairs else ([], [])
    photographs = list(_photographs(clean)) if clean else []
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
    trainer = Trainer(config, crops, validation, folder, report, objective)
    if weights is not None and trainer.step == 0:
        trainer.start_from(weights)
    trainer.run()


def checkpoint_hash(path: Path) -> str:
    """SHA-256 of a checkpoint.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _photographs(place: Path) -> Iterator[Picture]:
    if place.suffix == SUFFIX:
        return packed_photographs(place)
    return (read_picture(path) for path in picture_paths(place))


def split(place: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and the middles of every 40th to validate on."""
    training, validation = [], []
    for index, pair in enumerate(_pairs(place)):
        if index % VALIDATION_EVERY == VALIDATION_EVERY // 2:
            rainy, clean = (middle(x, VALIDATION_SIDE) for x in pair[1:])
            validation.append(Pair(pair.name, rainy, clean))
        else:
            training.append(pair)
    return training, validation


def _pairs(place: Path) -> Iterator[Pair]:
    return packed_pairs(place) if place.suffix == SUFFIX else open_pairs(place)
