"""How each network is trained: as its paper says, and as we do it.

`RECIPES` has a row for a network whose paper says something, or that we train in
another way than `TrainingConfig` does by default; any other network needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from derain.core.errors import ConfigError, UnknownNameError
from derain.core.synthetic.mixture import DEFAULT, read_mixture
from derain.training.config import Mixture, TrainingConfig
from derain.training.options import NAMES, TrainingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained.

    Attributes:
        paper: What its paper says, if there is one.
        ours: Settings of `TrainingConfig` where ours differ from its defaults; the
            command line replaces what it is given.
    """

    paper: Paper | None = None
    ours: Mapping[str, Any] = field(default_factory=dict)


FRAMES = 4  # of a sample, for a network with a memory that has no row

RECIPES = {
    "qsnet": Recipe(
        paper=Paper(
            learning_rate=1e-3, schedule="times 0.1 when the loss stalls", crop=256
        ),
        ours={"learning_rate": 2e-3, "crop": 80},
    ),
    "treefusion": Recipe(
        paper=Paper(
            learning_rate=1e-3,
            schedule="times 0.1 at 1/3 and 2/3 of the steps",
            crop=100,
            batch=10,
            steps=300_000,
        )
    ),
    "stagewise": Recipe(
        paper=Paper(
            learning_rate=1e-3,
            schedule="times 0.1 at 3/5 and 4/5 of the steps",
            crop=100,
            batch=10,
            steps=400_000,
        )
    ),
    "granet": Recipe(
        paper=Paper(
            learning_rate=5e-4, schedule="to 1e-4 on a plateau", flips="horizontal"
        ),
        ours={"learning_rate": 5e-4, "crop": 96},
    ),
    "dcsfn": Recipe(
        paper=Paper(
            learning_rate=5e-4,
            schedule="times 0.1 at 3/5 and 4/5 of the steps",
            crop=64,
        ),
        # A step of 4 crops of 48x48 on one core, in bfloat16: 2.1 s, 2.7 s channels
        # first.
        ours={"learning_rate": 5e-4, "channels_last": True},
    ),
    # No paper; the loss of clips is the warm-up's.
    **{
        name: Recipe(
            ours={
                "crop": 96,
                "frames": 7,
                "warm_up_loss_steps": 0,
                "vertical_flips": False,
                "mixture": Mixture(rendered=0.9, dry=0.1),
            }
        )
        for name in ("rivulet", "rivulet-s")
    },
}
# Of runs with quantisation in their loop, unless the command says otherwise.
QAT_STEPS = 500
QAT_RATE = 0.1  # of the recipe's learning rate
# Of new runs, unless the command says otherwise.
HOURS = 1.0
WARM_UP_LOSS_STEPS = 500


def config_for(model: str) -> TrainingConfig:
    """Our settings for `model`, a network in the registry or of the user's own.

    Raises:
        UnknownNameError: The registry has none of that name to train.
    """
    if model not in NAMES and ":" not in model:
        raise UnknownNameError("network to train", model, NAMES)
    recipe = RECIPES.get(model, Recipe())
    ours = {"hours": HOURS, "warm_up_loss_steps": WARM_UP_LOSS_STEPS, **recipe.ours}
    return TrainingConfig(model=model, **ours)


def check(options: TrainingOptions) -> None:
    """See that `options` go together.

    Raises:
        ConfigError: They do not.
    """
    if options.hours is not None and options.steps is not None:
        raise ConfigError("give --hours or --steps, not both")
    if options.qat and options.compile:
        raise ConfigError("give --qat or --compile, not both")
    if options.vgg is not None and options.model != "stagewise":
        raise ConfigError("--vgg is for --model stagewise")
    _mixture(config_for(options.model).mixture, options)


def configured(options: TrainingOptions, first_weights: str = "") -> TrainingConfig:
    """The settings that `options` ask for.

    Args:
        options: What is not given is as in our recipe for the network.
        first_weights: Hash of ``options.weights``; empty without them.

    Raises:
        ConfigError: The options do not go together, or a number is not finite.
    """
    check(options)
    config = config_for(options.model)
    if options.qat:
        config = with_changes(
            config,
            qat=True,
            steps=QAT_STEPS,
            learning_rate=QAT_RATE * config.learning_rate,
            warm_up_loss_steps=0,
        )
    given = {
        name: getattr(options, name)
        for name in (
            *("hours", "steps", "batch", "crop", "learning_rate"),
            *("warm_up_loss_steps", "bf16", "channels_last", "compile", "threads"),
            *("seed", "frames"),
        )
    }
    return with_changes(
        config,
        **given,
        first_weights=first_weights,
        pair_sets=len(options.pairs),
        photographs=options.clean is not None,
        clip_sets=len(options.clips),
        validation_clips=options.validation_clips,
        rain=read_mixture(options.rain or DEFAULT),
        # Not whole: a record must not hold the paths of the machine it was made on.
        not_in=tuple(
            "/".join(place.resolve().parts[1:][-2:]) for place in options.not_in
        ),
        mixture=_mixture(config.mixture, options),
        vgg=options.vgg is not None,
    )


def _mixture(ours: Mixture, options: TrainingOptions) -> Mixture:
    return Mixture(
        rendered=ours.rendered if options.rendered is None else options.rendered,
        dry=ours.dry if options.dry is None else options.dry,
    )


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


def departures(config: TrainingConfig) -> list[str]:
    """Where the settings of a run differ from the paper's, one sentence each."""
    recipe = RECIPES.get(config.model, Recipe())
    found = _departures_from(recipe.paper, config) if recipe.paper else []
    if config.first_weights:
        found.append(f"starts from the weights {config.first_weights[:12]}")
    if config.warm_up_loss_steps:
        found.append(
            f"root of the mean square of each crop as the loss of the first "
            f"{config.warm_up_loss_steps} steps"
        )
    if config.warmup_steps > 1:
        found.append(f"warm-up of the learning rate over {config.warmup_steps} steps")
    if config.pair_sets > 1:
        found.append(f"{config.pair_sets} sets of pairs give as many crops each")
    mixture = config.mixture.out_of(
        pairs=config.pair_sets > 0,
        photographs=config.photographs or config.clip_sets > 0,
    )
    if config.frames > 1:
        found.append(f"clips of {config.frames} frames")
    if mixture.rendered:
        found.append(f"{mixture.rendered:.0%} of the crops in rendered rain")
    if mixture.dry:
        found.append(f"{mixture.dry:.0%} of the crops without rain")
    found.append(f"moving average of the weights, decay {config.ema:g}")
    found.append(f"gradient norm at most {config.clip:g}")
    if config.model == "stagewise" and not config.vgg:
        found.append("1 - SSIM in the loss (paper: L1 on VGG features)")
    if config.qat:
        found.append("convolutions quantised in the forward pass, as INT8 does it")
    if config.bf16:
        found.append("forward pass in bfloat16")
    return found


def _departures_from(paper: Paper, config: TrainingConfig) -> list[str]:
    found = [
        f"{name} {getattr(config, name)} (paper: {wanted})"
        for name in ("learning_rate", "crop", "batch")
        if (wanted := getattr(paper, name)) not in (None, getattr(config, name))
    ]
    found.append(
        f"learning rate along half a cosine to {config.last_learning_rate:g} "
        f"(paper: {paper.schedule})"
    )
    if paper.steps is not None and paper.steps != config.steps:
        length = (
            f"{config.hours:g} hours" if config.steps is None else f"{config.steps}"
        )
        found.append(f"steps: {length} (paper: {paper.steps})")
    if paper.flips == "horizontal" and config.vertical_flips:
        found.append("vertical flips too (paper: horizontal)")
    return found
