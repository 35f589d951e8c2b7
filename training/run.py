"""From folders of pictures to a finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from derain.core.bundle import sha256
from derain.core.errors import CheckpointError, ConfigError
from derain.core.pairs import Pair, Picture, open_pairs
from derain.core.pictures import picture_paths, read_picture
from derain.training.config import TrainingConfig
from derain.training.data import CropSource
from derain.training.leakage import Scenes
from derain.training.loop import Trainer
from derain.training.losses import StageWiseObjective
from derain.training.options import TrainingOptions
from derain.training.pack import SUFFIX, middle, packed_pairs, packed_photographs
from derain.training.perceptual import Perceptual
from derain.training.recipes import configured
from derain.training.run_folder import STATE, claim, read_config

_log = logging.getLogger(__name__)

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured


def train(
    options: TrainingOptions,
    config: TrainingConfig | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Run the training that `options` describe, or go on with it.

    Args:
        options: Pictures, weights and folder; pairs and photographs may be packs.
        config: The settings; None makes them of `options`. A run that is there keeps
            its own warm-up loss unless `options` name one.
        stop: Asked before every step; the run is saved then.

    Returns:
        The run as it stands.

    Raises:
        ConfigError: The options do not go together, or scenes are to be left out of a
            pack.
        TrainingError: The run diverged; its last good checkpoint is kept.
        DerainError: The pictures, the checkpoint or the run cannot be read.
    """
    config = config or _settings(options)
    pairs, clean, not_in = options.pairs, options.clean, options.not_in
    for place in (*pairs, clean):
        if not_in and place and place.suffix == SUFFIX:
            raise ConfigError(
                f"{place} holds only the middles of pictures, whose scenes cannot be "
                "told; give --not-in to derain-train pack instead"
            )
    claim(options.folder)  # now: to read the pictures takes a while
    scenes = Scenes(not_in)
    parts = [split(place, scenes) for place in pairs]
    training = [part[0] for part in parts]
    validation = [pair for part in parts for pair in part[1]]
    unwanted = [name for part in parts for name in part[2]]
    used = sum(map(len, training))
    found = list(_photographs(clean)) if clean else []
    photographs = [photograph for photograph in found if not scenes.hold(photograph)]
    if not_in:
        _log.info(
            "left out %d of %d pairs and %d of %d photographs that show a scene in %s",
            len(unwanted),
            used + len(validation) + len(unwanted),
            len(found) - len(photographs),
            len(found),
            ", ".join(map(str, not_in)),
        )
    _log.info(
        "%d pairs to train on, %d to validate, %d photographs",
        used,
        len(validation),
        len(photographs),
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
    objective = StageWiseObjective(Perceptual(options.vgg)) if options.vgg else None
    trainer = Trainer(config, crops, validation, options.folder, objective)
    if options.weights is not None and trainer.step == 0:
        trainer.start_from(options.weights)
    trainer.run(stop)
    return trainer


def _settings(options: TrainingOptions) -> TrainingConfig:
    weights = options.weights
    config = configured(options, checkpoint_hash(weights) if weights else "")
    if options.warm_up_loss_steps is None and (options.folder / STATE).is_file():
        stored = read_config(options.folder).warm_up_loss_steps
        config = replace(config, warm_up_loss_steps=stored)
    return config


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


def split(place: Path, scenes: Scenes) -> tuple[list[Pair], list[Pair], list[str]]:
    """Pairs to train on, the middles of every 40th to validate on, and the unwanted.

    Returns:
        The two lists, and the names of the pairs that show one of `scenes`. Without
        those the others are split as they are with them.
    """
    training, validation, unwanted = [], [], []
    for index, pair in enumerate(_pairs(place)):
        if scenes.hold(pair.clean):
            unwanted.append(pair.name)
        elif index % VALIDATION_EVERY == VALIDATION_EVERY // 2:
            rainy, clean = (middle(x, VALIDATION_SIDE) for x in pair[1:])
            validation.append(Pair(pair.name, rainy, clean))
        else:
            training.append(pair)
    return training, validation, unwanted


def _pairs(place: Path) -> Iterator[Pair]:
    return packed_pairs(place) if place.suffix == SUFFIX else open_pairs(place)
