"""The options of ``derain-train``: of one run, and the keys of one in a queue."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

import click

from derain.core.commands import Number, Parsed, Whole
from derain.core.options import option
from derain.models.registry import MODELS

NAMES = [name for name in MODELS if name != "nledn"]  # whose weights are published
_MOST_SEED = 2**63 - 1  # that PyTorch takes


def _model(text: str) -> str:
    if text not in NAMES and ":" not in text:
        raise ValueError(
            f"{text!r} is not trained here; choose from {', '.join(NAMES)}, or give "
            "package.module:Class"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What to train, on what and how; None takes what our recipe for the network says.

    Attributes are documented by the help of their options.
    """

    model: str = option(
        MISSING,
        f"The network: {', '.join(NAMES)}, or package.module:Class.",
        kind=Parsed("model", _model),
    )
    pairs: tuple[Path, ...] = option(
        (),
        "Folder of files, left half clean, right half rainy; or with folders rain "
        "and clean. May be repeated: each folder gives as many crops as another.",
        kind=click.Path(path_type=Path),
        multiple=True,
    )
    clean: Path | None = option(
        None,
        "Folder of photographs to render rain on; a network with a memory sees them "
        "under a moving camera.",
        kind=click.Path(path_type=Path),
    )
    clips: tuple[Path, ...] = option(
        (),
        "Folder with a folder of pictures, in order, for each clean clip; it rains on "
        "them. Networks without a memory take pictures from them. May be repeated.",
        kind=click.Path(path_type=Path),
        multiple=True,
    )
    validation_clips: int = option(
        2,
        "Clips that a network with a memory is validated on, and not trained on.",
        kind=Whole(0, 1000),
        show_default=True,
    )
    frames: int | None = option(
        None,
        "Consecutive frames of a sample, for a network with a memory: errors go back "
        "through four, those before fill the memory.",
        kind=Whole(2, 64),
    )
    rain: Path | None = option(
        None,
        "TOML file of what rendered rain is drawn from; derain-train rain prints the "
        "one that is taken without.",
        kind=click.Path(path_type=Path),
    )
    not_in: tuple[Path, ...] = option(
        (),
        "Folder that is measured on later: photographs, pairs and clips that show a "
        "scene in it, of pictures or of pairs, are left out. May be repeated.",
        kind=click.Path(path_type=Path),
        multiple=True,
    )
    weights: Path | None = option(
        None,
        "Checkpoint to start from, in place of new weights: a state dict of the "
        "network, such as the file that derain-train publish makes of a run.",
        kind=click.Path(path_type=Path),
    )
    hours: float | None = option(
        None, "Time to take.", kind=Number(0, 10**5, above=True)
    )
    steps: int | None = option(None, "Steps to take, instead.", kind=Whole(1, 10**9))
    batch: int | None = option(None, "Crops a step.", kind=Whole(1, 4096))
    crop: int | None = option(None, "Size of a crop, in pixels.", kind=Whole(16, 8192))
    learning_rate: float | None = option(
        None, "Of Adam, at its highest.", kind=Number(0, 1, above=True)
    )
    warm_up_loss_steps: int | None = option(
        None,
        "Steps at the start whose loss is the root of the mean square of each crop: "
        "where rain is on few pixels, papers' losses alone are slow to learn.",
        kind=Whole(0, 10**9),
    )
    rendered: float | None = option(None, "Part of rendered rain.", kind=Number(0, 1))
    dry: float | None = option(None, "Part of dry pictures.", kind=Number(0, 1))
    vgg: Path | None = option(
        None,
        "torchvision's vgg16 checkpoint, for the loss of stagewise.",
        kind=click.Path(path_type=Path),
    )
    bf16: bool | None = option(
        None, "Precision of the forward pass.", names=("--bf16/--fp32",)
    )
    channels_last: bool | None = option(
        None,
        "Memory layout of networks.",
        names=("--channels-last/--channels-first",),
    )
    compile: bool | None = option(None, "torch.compile.", names=("--compile/--eager",))
    qat: bool = option(
        False,
        "Quantisation in the loop: go on from --weights, or those that ship, with "
        "convolutions as INT8 computes them; the run ends with weights.safetensors for "
        "derain-export --int8.",
    )
    threads: int | None = option(None, "Processor threads.", kind=Whole(1, 1024))
    seed: int | None = option(
        None, "Of weights and batches.", kind=Whole(0, _MOST_SEED)
    )
    output: Path | None = option(
        None,
        "Folder of the run; runs/MODEL by default. A run in it is resumed.",
        names=("--output", "-o"),
        kind=click.Path(path_type=Path),
    )

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.output or Path("runs") / self.model
