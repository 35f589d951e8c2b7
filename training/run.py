"""From folders of pictures to a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from derain.core.bundle import sha256
from derain.core.errors import CheckpointError, ConfigError
from derain.core.pictures import read_picture
from derain.training.config import TrainingConfig
from derain.training.data import (
    CropSource,
    Pair,
    Picture,
    open_pairs,
    picture_paths,
)
from derain.training.leakage import Scenes
from derain.training.loop import Trainer
from derain.training.losses import StageWiseObjective
from derain.training.pack import (
    SUFFIX,
    middle,
    packed_pairs,
    packed_photographs,
)
from derain.training.perceptual import Perceptual

VALIDATION_EVERY = 40  # every 40th pair is kept for validation
VALIDATION_SIDE = 256  # pixels of their middle that are measured


def train(
    config: TrainingConfig,
    pairs: Sequence[Path],
    clean: Path | None,
    folder: Path,
    report: Callable[[str], None],
    *,
    not_in: Sequence[Path] = (),
    weights: Path | None = None,
    vgg: Path | None = None,
) -> None:
    """Run the training that `config` describes, in `folder`.

    Args:
        config: The settings.
        pairs: Folders of pairs, as `open_pairs` reads them, or packs; each gives as
            many crops as another.
        clean: Folder of photographs to render rain on, or a pack.
        folder: Of the run; a run in it is resumed.
        report: Called with a line of text now and then.
        not_in: Folders of pictures or pairs whose scenes are left out.
        weights: Checkpoint to start from, of the hash in ``config.first_weights``.
        vgg: Checkpoint of a VGG-16, where ``config.vgg`` asks for one.

    Raises:
        ConfigError: Scenes are to be left out of a pack.
        DerainError: The pictures, the checkpoint or the run cannot be read.
    """
    for place in (*pairs, clean):
        if not_in and place and place.suffix == SUFFIX:
            raise ConfigError(
                f"{place} holds only the middles of pictures, whose scenes cannot be "
                "told; give --not-in to derain.training.pack instead"
            )
    scenes = Scenes(not_in)
    parts = [split(place, scenes) for place in pairs]
    training = [part[0] for part in parts]
    validation = [pair for part in parts for pair in part[1]]
    unwanted = [name for part in parts for name in part[2]]
    used = sum(map(len, training))
    found = list(_photographs(clean)) if clean else []
    photographs = [photograph for photograph in found if not scenes.hold(photograph)]
    if not_in:
        report(
            f"left out {len(unwanted)} of "
            f"{used + len(validation) + len(unwanted)} pairs and "
            f"{len(found) - len(photographs)} of {len(found)} photographs that show a "
            f"scene in {', '.join(map(str, not_in))}"
        )
    report(
        f"{used} pairs to train on, {len(validation)} to validate, "
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
