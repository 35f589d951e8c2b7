"""How each network is trained: as its paper says, and as we do it.

`RECIPES` holds the papers' settings. A `TrainingConfig` holds those of one run;
`TrainingConfig.departures` lists where it left the paper.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from derain.core.errors import UnknownNameError
from derain.training.data import Mixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a paper says about its training; None where it is silent.

    Attributes:
        learning_rate: Of Adam, at the start.
        schedule: How the learning rate falls.
        crop: Height and width of the training crops, in pixels.
        batch: Crops a step.
        steps: Steps of the whole training.
        flips: Which random flips.
    """

    learning_rate: float
    schedule: str
    crop: int | None = None
    batch: int | None = None
    steps: int | None = None
    flips: str | None = None


RECIPES = {
    "qsnet": Recipe(
        learning_rate=1e-3, schedule="times 0.1 when the loss stalls", crop=256
    ),
    "treefusion": Recipe(
        learning_rate=1e-3,
        schedule="times 0.1 at 1/3 and 2/3 of the steps",
        crop=100,
        batch=10,
        steps=300_000,
    ),
    "stagewise": Recipe(
        learning_rate=1e-3,
        schedule="times 0.1 at 3/5 and 4/5 of the steps",
        crop=100,
        batch=10,
        steps=400_000,
    ),
    "granet": Recipe(
        learning_rate=5e-4,
        schedule="to 1e-4 on a plateau",
        flips="horizontal",
    ),
    "dcsfn": Recipe(
        learning_rate=5e-4, schedule="times 0.1 at 3/5 and 4/5 of the steps", crop=64
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The settings of one run.

    Attributes:
        model: A name in `RECIPES`.
        first_weights: SHA-256 of the checkpoint that the run starts from; empty where
            it starts from new weights.
        learning_rate: Of Adam, after the warm-up; it falls to `last_learning_rate`
            along half a cosine that ends with the run.
        last_learning_rate: At the end.
        warmup_steps: Steps over which the learning rate rises from 0.
        crop: Height and width of the crops, in pixels.
        batch: Crops a step.
        steps: Length of the run in steps, or None where `hours` says it.
        hours: Length of the run in hours of computing, or None where `steps` says it.
        pair_sets: Folders of pairs, which give as many crops each.
        photographs: Whether there are photographs to render rain on.
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
        threads: Processor threads.
        seed: Of the first weights and of the batches.
        validate_minutes: Time between two validations.
        save_minutes: Time between two checkpoints.
    """

    model: str
    learning_rate: float
    crop: int
    batch: int
    first_weights: str = ""
    last_learning_rate: float = 1e-6
    warmup_steps: int = 200
    steps: int | None = None
    hours: float | None = None
    pair_sets: int = 1
    photographs: bool = True
    not_in: tuple[str, ...] = ()
    vertical_flips: bool = True
    mixture: Mixture = field(default_factory=Mixture)
    ema: float = 0.999
    clip: float = 1.0
    bf16: bool = False
    vgg: bool = False
    channels_last: bool = False
    compile: bool = False
    threads: int = 1
    seed: int = 0
    validate_minutes: float = 8.0
    save_minutes: float = 1.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.hours is None):
            raise ValueError("give either steps or hours")

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
            f"derain-train --model {self.model}",
            *(f"--pairs PAIRS{number}" for number in self._numbers()),
            *["--clean PHOTOGRAPHS"] * self.photographs,
            *(f"--not-in {shlex.quote(folder)}" for folder in self.not_in),
            length,
            f"--batch {self.batch} --crop {self.crop}",
            f"--learning-rate {self.learning_rate:g}",
            f"--rendered {self.mixture.rendered:g} --dry {self.mixture.dry:g}",
            "--bf16" if self.bf16 else "--fp32",
            "--channels-last" if self.channels_last else "--channels-first",
            "--compile" if self.compile else "--eager",
            f"--threads {self.threads} --seed {self.seed}",
        ]
        words += ["--weights WEIGHTS"] * bool(self.first_weights)
        return " ".join(words + ["--vgg VGG16"] * self.vgg)

    def _numbers(self) -> list[str]:
        if self.pair_sets == 1:
            return [""]
        return [str(number + 1) for number in range(self.pair_sets)]

    def departures(self) -> list[str]:
        """Where these settings differ from the paper's, one sentence each."""
        recipe = RECIPES[self.model]
        found = [
            f"{name} {getattr(self, name)} (paper: {wanted})"
            for name in ("learning_rate", "crop", "batch")
            if (wanted := getattr(recipe, name)) not in (None, getattr(self, name))
        ]
        if self.first_weights:
            found.append(f"starts from the weights {self.first_weights[:12]}")
        found.append(
            f"learning rate along half a cosine to {self.last_learning_rate:g} "
            f"(paper: {recipe.schedule})"
        )
        if self.warmup_steps > 1:
            found.append(f"warm-up of the learning rate over {self.warmup_steps} steps")
        if recipe.steps is not None and recipe.steps != self.steps:
            length = f"{self.hours:g} hours" if self.steps is None else f"{self.steps}"
            found.append(f"steps: {length} (paper: {recipe.steps})")
        if recipe.flips == "horizontal" and self.vertical_flips:
            found.append("vertical flips too (paper: horizontal)")
        if self.pair_sets > 1:
            found.append(f"{self.pair_sets} sets of pairs give as many crops each")
        mixture = self.mixture.out_of(
            pairs=self.pair_sets > 0, photographs=self.photographs
        )
        if mixture.rendered:
            found.append(f"{mixture.rendered:.0%} of the crops in rendered rain")
        if mixture.dry:
            found.append(f"{mixture.dry:.0%} of the crops without rain")
        found.append(f"moving average of the weights, decay {self.ema:g}")
        found.append(f"gradient norm at most {self.clip:g}")
        if self.model == "stagewise" and not self.vgg:
            found.append("1 - SSIM in the loss (paper: L1 on VGG features)")
        if self.bf16:
            found.append("forward pass in bfloat16")
        return found


# Our starting points; the command line replaces what it is given.
CONFIGS = {
    "qsnet": TrainingConfig(
        model="qsnet", learning_rate=2e-3, crop=80, batch=8, hours=1.0
    ),
    "treefusion": TrainingConfig(
        model="treefusion", learning_rate=1e-3, crop=64, batch=8, hours=1.0
    ),
    "stagewise": TrainingConfig(
        model="stagewise", learning_rate=1e-3, crop=64, batch=8, hours=1.0
    ),
    "granet": TrainingConfig(
        model="granet", learning_rate=5e-4, crop=96, batch=8, hours=1.0
    ),
    # A step of 4 crops of 48x48 on one core, in bfloat16: 2.1 s, 2.7 s channels first.
    "dcsfn": TrainingConfig(
        model="dcsfn",
        learning_rate=5e-4,
        crop=64,
        batch=8,
        hours=1.0,
        channels_last=True,
    ),
}


def config_for(model: str) -> TrainingConfig:
    """Our settings for `model`.

    Raises:
        UnknownNameError: There are none.
    """
    try:
        return CONFIGS[model]
    except KeyError:
        raise UnknownNameError("network to train", model, CONFIGS) from None


def with_changes(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """`config` with the settings in `changes` that are not None.

    `steps` replaces `hours`, and the reverse.
    """
    known = {entry.name for entry in fields(config)}
    given = {name: value for name, value in changes.items() if value is not None}
    assert given.keys() <= known
    if "steps" in given:
        given.setdefault("hours", None)
    elif "hours" in given:
        given["steps"] = None
    return replace(config, **given)
