"""From folders of pictures to a finished run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from derain.core.bundle import sha256
from derain.core.errors import CheckpointError, ConfigError, MediaError
from derain.core.pairs import Pair, Picture, open_pairs
from derain.core.pictures import picture_paths, read_picture
from derain.core.synthetic.mixture import RainMixture
from derain.models.video_network import has_states
from derain.training.clip_validation import ClipValidation
from derain.training.clips import ClipSource, TrainingClip, open_clips
from derain.training.config import TrainingConfig
from derain.training.data import CropSource
from derain.training.leakage import Scenes
from derain.training.loop import BatchSource, Trainer
from derain.training.losses import StageWiseObjective
from derain.training.options import TrainingOptions
from derain.training.pack import SUFFIX, middle, packed_pairs, packed_photographs
from derain.training.perceptual import Perceptual
from derain.training.publish import WEIGHTS
from derain.training.recipes import FRAMES, configured
from derain.training.run_folder import STATE, claim, making, new_network, read_config
from derain.training.validation import PairValidation, Validation

_log = logging.getLogger(__name__)

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured
STILL_EVERY = 10  # frames of clips that a network without a memory sees


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
    options = _with_weights(options)
    config = config or _settings(options)
    pairs, clean, not_in = options.pairs, options.clean, options.not_in
    for place in (*pairs, clean):
        if not_in and place and place.suffix == SUFFIX:
            raise ConfigError(
                f"{place} holds only the middles of pictures, whose scenes cannot be "
                "told; give --not-in to derain-train pack instead"
            )
    with making(options.folder):
        claim(options.folder)  # now: to read the pictures takes a while
        scenes = Scenes(not_in)
        found = list(_photographs(clean)) if clean else []
        photographs = [
            photograph for photograph in found if not scenes.hold(photograph)
        ]
        if not_in:
            _log_left_out(
                "photographs", len(found) - len(photographs), len(found), not_in
            )
        source, validation = (_of_clips if config.frames > 1 else _of_pictures)(
            options, config, photographs, scenes
        )
        objective = StageWiseObjective(Perceptual(options.vgg)) if options.vgg else None
        trainer = Trainer(
            config, source, validation, options.folder, objective, options.weights
        )
    trainer.run(stop)
    return trainer


def _with_weights(options: TrainingOptions) -> TrainingOptions:
    """`options` with the weights that ship where a run must go on from some.

    Raises:
        CheckpointError: None ship.
    """
    if not options.qat or options.weights is not None:
        return options
    shipped = WEIGHTS / f"{options.model}.safetensors"
    if not shipped.is_file():
        raise CheckpointError(
            f"--qat goes on from weights, and none ship for {options.model}; give "
            "--weights FILE"
        )
    return replace(options, weights=shipped)


def _settings(options: TrainingOptions) -> TrainingConfig:
    weights = options.weights
    config = configured(options, checkpoint_hash(weights) if weights else "")
    if options.warm_up_loss_steps is None and (options.folder / STATE).is_file():
        stored = read_config(options.folder).warm_up_loss_steps
        config = replace(config, warm_up_loss_steps=stored)
    network, facts = new_network(options.model)
    if config.crop % facts.multiple_of or config.crop < facts.minimum:
        raise ConfigError(
            f"--crop is {config.crop}, wanted a multiple of {facts.multiple_of}, "
            f"{facts.minimum} or more, for {options.model}"
        )
    if has_states(network):
        if options.pairs:
            raise ConfigError(
                f"{options.model} has a memory, which single pairs cannot train; give "
                "--clips or --clean"
            )
        return replace(config, frames=max(config.frames, options.frames or FRAMES))
    if options.frames:
        raise ConfigError(
            f"{options.model} has no memory, and sees one picture at a time; leave "
            "--frames out"
        )
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


def _of_clips(
    options: TrainingOptions,
    config: TrainingConfig,
    photographs: list[Picture],
    scenes: Scenes,
) -> tuple[BatchSource, Validation | None]:
    training, validation = _clips(options, config, scenes, config.frames)
    source = ClipSource(
        training,
        photographs,
        frames=config.frames,
        crop=config.crop,
        batch=config.batch,
        dry=config.mixture.dry,
        mixture=RainMixture.parse(config.rain, "the rain of the run"),
        seed=config.seed,
    )
    return source, ClipValidation(validation) if validation else None


def _of_pictures(
    options: TrainingOptions,
    config: TrainingConfig,
    photographs: list[Picture],
    scenes: Scenes,
) -> tuple[BatchSource, Validation | None]:
    parts = [split(place, scenes) for place in options.pairs]
    training = [part[0] for part in parts]
    validation = [pair for part in parts for pair in part[1]]
    unwanted = sum(len(part[2]) for part in parts)
    used = sum(map(len, training))
    if options.not_in and parts:
        every = used + len(validation) + unwanted
        _log_left_out("pairs", unwanted, every, options.not_in)
    clips, _ = _clips(options, replace(config, validation_clips=0), scenes, 1)
    stills = [frame for clip in clips for frame in clip.frames[::STILL_EVERY]]
    _log.info(
        "%d pairs to train on, %d to validate, %d photographs",
        used,
        len(validation),
        len(photographs) + len(stills),
    )
    source = CropSource(
        training,
        photographs + stills,
        crop=config.crop,
        batch=config.batch,
        mixture=config.mixture,
        rain=RainMixture.parse(config.rain, "the rain of the run"),
        seed=config.seed,
        vertical_flips=config.vertical_flips,
    )
    return source, PairValidation(validation) if validation else None


def _clips(
    options: TrainingOptions, config: TrainingConfig, scenes: Scenes, least: int
) -> tuple[list[TrainingClip], list[TrainingClip]]:
    """Clips to train on, and to validate on: spread evenly over all.

    Raises:
        MediaError: None is left to train on.
    """
    found = [clip for place in options.clips for clip in open_clips(place, least)]
    clips = [
        clip
        for clip in found
        if not any(scenes.hold(frame) for frame in clip.frames[::STILL_EVERY])
    ]
    if options.not_in and found:
        _log_left_out("clips", len(found) - len(clips), len(found), options.not_in)
    count = config.validation_clips if found else 0
    if found and len(clips) <= count:
        raise MediaError(
            f"there are {len(clips)} clips, and {count} are to validate on; give more, "
            "or fewer --validation-clips"
        )
    kept = {(2 * k + 1) * len(clips) // (2 * count) for k in range(count)}
    validation = [clip for index, clip in enumerate(clips) if index in kept]
    training = [clip for index, clip in enumerate(clips) if index not in kept]
    if found:
        _log.info(
            "%d clips to train on, %d to validate: %s",
            len(training),
            len(validation),
            ", ".join(clip.name for clip in validation) or "none",
        )
    return training, validation


def _log_left_out(what: str, left: int, every: int, not_in: Sequence[Path]) -> None:
    _log.info(
        "left out %d of %d %s that show a scene in %s",
        left,
        every,
        what,
        ", ".join(map(str, not_in)),
    )


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
