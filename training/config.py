"""The settings of one run, which its folder and its record keep."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from derain.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What the crops of a batch are taken from.

    Attributes:
        rendered: Part of the crops that are clean pictures in rendered rain.
        dry: Part of the crops that are clean pictures as they are, so that the network
            learns to leave those alone.
    """

    rendered: float = 0.25
    dry: float = 0.12

    def out_of(self, *, pairs: bool, photographs: bool) -> Mixture:
        """This, where there may be no pairs or no photographs to render rain on.

        What is missing gives its part to the other.
        """
        if not photographs:
            return replace(self, rendered=0.0)
        return self if pairs else replace(self, rendered=1.0 - self.dry)

    def __post_init__(self) -> None:
        if not (self.rendered >= 0 and self.dry >= 0 and self.rendered + self.dry <= 1):
            raise ConfigError(
                f"parts of rendered rain and of dry pictures: got {self.rendered:g} "
                f"and {self.dry:g}, wanted at most 1 together and none below 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The settings of one run.

    Attributes:
        model: A network in the registry, or ``package.module:Class``.
        first_weights: SHA-256 of the checkpoint that the run starts from; empty where
            it starts from new weights.
        learning_rate: Of Adam, after the warm-up; it falls to `last_learning_rate`
            along half a cosine that ends with the run.
        last_learning_rate: At the end.
        warmup_steps: Steps over which the learning rate rises from 0.
        warm_up_loss_steps: Steps at the start whose loss is the root of the mean square
            of each crop; 0 in runs of older versions.
        crop: Height and width of the crops, in pixels.
        batch: Crops a step.
        steps: Length of the run in steps, or None where `hours` says it.
        hours: Length of the run in hours of computing, or None where `steps` says it.
        pair_sets: Folders of pairs, which give as many crops each.
        photographs: Whether there are photographs to render rain on.
        clip_sets: Folders of clean clips.
        validation_clips: Clips of them that are kept to validate on.
        frames: Of a sample; 1 for a network without a memory.
        rain: What rendered rain is drawn from: the content of a file such as
            `derain.core.synthetic.mixture.DEFAULT`; empty in runs of older versions.
        not_in: Folders whose scenes were left out, by the last two parts of their path.
        vertical_flips: Whether crops are turned upside down too.
        mixture: Parts of rendered rain and of dry pictures.
        ema: Decay of the moving average of the weights, which is what is kept.
        clip: Largest norm of the gradient.
        bf16: Whether the forward pass runs in bfloat16 where that is safe.
        vgg: Whether stagewise's loss has its VGG term; 1 - SSIM stands in for it.
        channels_last: Whether network and pictures lie in memory channel by channel of
            each pixel, which processors and tensor cores may be faster with.
        compile: Whether the step is compiled with `torch.compile`.
        qat: Whether convolutions are quantised in the forward pass as INT8 does it.
        threads: Processor threads.
        seed: Of the first weights and of the batches.
        validate_minutes: Time between two validations.
        save_minutes: Time between two checkpoints.
    """

    model: str
    learning_rate: float = 1e-3
    crop: int = 64
    batch: int = 8
    first_weights: str = ""
    last_learning_rate: float = 1e-6
    warmup_steps: int = 200
    warm_up_loss_steps: int = 0
    steps: int | None = None
    hours: float | None = None
    pair_sets: int = 1
    photographs: bool = True
    clip_sets: int = 0
    validation_clips: int = 2
    frames: int = 1
    rain: Mapping[str, Any] = field(default_factory=dict)
    not_in: tuple[str, ...] = ()
    vertical_flips: bool = True
    mixture: Mixture = field(default_factory=Mixture)
    ema: float = 0.999
    clip: float = 1.0
    bf16: bool = False
    vgg: bool = False
    channels_last: bool = False
    compile: bool = False
    qat: bool = False
    threads: int = 1
    seed: int = 0
    validate_minutes: float = 8.0
    save_minutes: float = 1.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.hours is None):
            raise ConfigError("give either steps or hours")
        for name in ("learning_rate", "hours"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{name.replace('_', ' ')} is {value:g}, wanted a positive number"
                )

    def progress(self, step: int, seconds: float) -> float:
        """Part of the run that is done after `step` steps and `seconds`; 1 is all."""
        if self.steps is not None:
            return step / self.steps
        assert self.hours is not None
        return seconds / (3600 * self.hours)

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainingConfig:
        """The settings that `to_json` wrote."""
        mixture = Mixture(**value["mixture"])
        not_in = tuple(value.get("not_in", ()))  # not in older runs
        return cls(**{**value, "mixture": mixture, "not_in": not_in})

    def command(self) -> str:
        """The command that repeats the run, folders aside."""
        length = (
            f"--steps {self.steps}" if self.hours is None else f"--hours {self.hours:g}"
        )
        words = [
            f"derain-train --model {shlex.quote(self.model)}",
            *(f"--pairs PAIRS{number}" for number in _numbers(self.pair_sets)),
            *["--clean PHOTOGRAPHS"] * self.photographs,
            *(f"--clips CLIPS{number}" for number in _numbers(self.clip_sets)),
            *[f"--validation-clips {self.validation_clips}"] * bool(self.clip_sets),
            *(f"--not-in {shlex.quote(folder)}" for folder in self.not_in),
            length,
            *[f"--frames {self.frames}"] * (self.frames > 1),
            *["--rain RAIN"] * bool(self.rain),
            f"--batch {self.batch} --crop {self.crop}",
            f"--learning-rate {self.learning_rate:g}",
            f"--warm-up-loss-steps {self.warm_up_loss_steps}",
            f"--rendered {self.mixture.rendered:g} --dry {self.mixture.dry:g}",
            "--bf16" if self.bf16 else "--fp32",
            "--channels-last" if self.channels_last else "--channels-first",
            "--compile" if self.compile else "--eager",
            f"--threads {self.threads} --seed {self.seed}",
        ]
        words += ["--qat"] * self.qat
        words += ["--weights WEIGHTS"] * bool(self.first_weights)
        return " ".join(words + ["--vgg VGG16"] * self.vgg)


def _numbers(sets: int) -> list[str]:
    """What tells the folders of one kind apart; nothing where there is one."""
    return [""] if sets == 1 else [str(number + 1) for number in range(sets)]
