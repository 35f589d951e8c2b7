"""`evaluate`: PSNR and SSIM on Y of networks and bundles on pairs of pictures."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.atomic_files import require_writable
from derain.core.bundle import Bundle
from derain.core.contact_sheet import contact_sheet
from derain.core.errors import ConfigError, DerainError, UnknownNameError
from derain.core.pairs import Pair, open_pairs, two_folders
from derain.core.pictures import SUFFIXES, write_picture
from derain.core.tables import text_table
from derain.models.allocator import keep_memory
from derain.models.loading import open_network
from derain.models.registry import MODELS, NetworkFacts
from derain.runtime.derainer import Derainer
from derain.training.data import dry
from derain.training.run_folder import STATE, load_average
from derain.training.validation import (
    DerainPicture,
    Result,
    derain_with,
    dry_summary,
    finite,
    in_strips,
    score_pairs,
    summary,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from derain.benchmarks.quality.evaluate_options import EvaluateKeywords

WORST = 8  # pictures on the sheet

# What derains: a network's name, a live network, a bundle or its folder.
Evaluated: TypeAlias = str | Path | Bundle | nn.Module
# Where pairs are: a folder of them, folders of rainy and of clean pictures, or pairs.
Pairs: TypeAlias = str | Path | tuple[Path, Path] | Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good networks and bundles are on the same pairs; ``print`` shows a table.

    Attributes:
        results: What became of every pair, by what derained it.
        dry: Whether pictures without rain were derained.
    """

    results: dict[str, list[Result]]
    dry: bool = False

    def figures(self) -> dict[str, Any]:
        """The means, and every picture's figures under ``each``, as a JSON object."""
        means = dry_summary if self.dry else summary
        return {
            name: means(results) | {"each": [_figures(result) for result in results]}
            for name, results in self.results.items()
        }

    def table(self, *, each: bool = False) -> str:
        """The means as a table, with `each` the figures of every picture, too."""
        head = ["mean PSNR", "least PSNR"] if self.dry else ["PSNR", "SSIM"]
        rows = [[*head, "pictures", ""]]
        for name, figures in self.figures().items():
            if self.dry:
                means = [_db(figures["mean_psnr_db"]), _db(figures["least_psnr_db"])]
            else:
                before = figures["rainy"]
                if len(rows) == 1:
                    ssim = f"{before['ssim']:.4f}"
                    rows.append([_db(before["psnr_db"]), ssim, "", "rainy"])
                means = [_db(figures["psnr_db"]), f"{figures['ssim']:.4f}"]
            rows.append([*means, str(figures["pictures"]), name])
            for row in figures["each"] if each else ():
                rows.append(
                    [_db(row["psnr_db"]), f"{row['ssim']:.4f}", "", row["name"]]
                )
        return "\n".join(text_table(rows, left=(3,)))

    def __str__(self) -> str:
        return self.table()


def evaluate(
    model_or_bundle: Evaluated, pairs: Pairs, **options: Unpack[EvaluateKeywords]
) -> Evaluation:
    """Derain pairs of pictures and compare with the truth: PSNR and SSIM on Y.

    Args:
        model_or_bundle: A network's name (``derain.models()``), a live network whose
            input and output are `(1, 3, H, W)` RGB in [0, 1], a bundle or its folder.
        pairs: A folder of files with a clean left and a rainy right half, or with
            folders ``rain`` and ``clean``; two folders, of rainy and of clean pictures;
            or pairs: name, rainy and clean picture, each `(H, W, 3)` uint8 BGR.
        options: See `EvaluateOptions`.

    Returns:
        Every pair's figures and their means; ``print`` shows what ``derain-eval`` does.

    Raises:
        UnknownNameError: `model_or_bundle` is neither a network nor a bundle.
        MediaError: There are no pairs, or one cannot be read.
        ShapeError: A picture is of a size the bundle does not take.
        DerainError: It cannot be loaded or run.

    Example:
        >>> import derain
        >>> evaluation = derain.evaluate("qsnet", "rain800/test")
        >>> evaluation.figures()["qsnet, PyTorch"]["pictures"]
        100
    """
    given: dict[str, Any] = dict(options)
    if given.get("weights") is not None:
        given["weights"] = Path(given["weights"])
    return measure_quality([model_or_bundle], pairs, EvaluateOptions(**given))


def measure_quality(
    evaluated: Sequence[Evaluated],
    pairs: Pairs,
    options: EvaluateOptions,
    worst: Path | None = None,
    *,
    force: bool = False,
) -> Evaluation:
    """Evaluate several on the same pairs, as `evaluate` does.

    Args:
        evaluated: Networks and bundles.
        pairs: See `evaluate`.
        options: How.
        worst: Write a contact sheet here of the pictures that gained least with the
            first of `evaluated`.
        force: Replace a file at `worst`.

    Raises:
        ConfigError: There are weights, and no network they are of; or `worst` must not
            be written.
        DerainError: See `evaluate`.
    """
    if options.weights is not None and not any(
        isinstance(each, str) and each in MODELS for each in evaluated
    ):
        raise ConfigError("weights are of a network by its name; a bundle has its own")
    if worst is not None:
        _check_worst(worst, force=force)
    keep_memory()
    source = _reader(pairs, options)
    found: dict[str, list[Result]] = {}
    for each in evaluated:
        name, opened = _open(each, options)
        with opened as derain:
            derain_all = in_strips(derain)
            found[name] = score_pairs(derain_all, source())
            if not found[name]:
                raise DerainError(f"{name}: there are no pairs to measure on")
            if worst is not None and len(found) == 1:
                _write_worst(worst, derain_all, found[name], source())
    return Evaluation(found, options.dry)


def _reader(pairs: Pairs, options: EvaluateOptions) -> Callable[[], Iterable[Pair]]:
    """Reads the pairs from the first; they may be too many to keep."""

    def read() -> Iterator[Pair]:
        found: Iterable[Pair]
        if isinstance(pairs, (str, Path)):
            found = open_pairs(Path(pairs))
        elif pairs and isinstance(pairs[0], (str, Path)):
            rainy, clean = (Path(str(folder)) for folder in pairs)
            found = two_folders(rainy, clean)
        else:
            found = (Pair(*pair) for pair in pairs)  # type: ignore[misc]
        chosen = islice(found, 0, None, options.every)
        return dry(chosen) if options.dry else chosen

    return read


def _open(
    evaluated: Evaluated, options: EvaluateOptions
) -> tuple[str, contextlib.AbstractContextManager[DerainPicture]]:
    """Its name in the table, and what derains a picture."""
    if isinstance(evaluated, nn.Module):
        name = type(evaluated).__name__
        derain = derain_with(evaluated.eval(), NetworkFacts())
        return name, contextlib.nullcontext(derain)
    if isinstance(evaluated, str) and evaluated in MODELS:
        network = _network(evaluated, options)
        return f"{evaluated}, PyTorch", contextlib.nullcontext(network)
    if isinstance(evaluated, str) and not Path(evaluated).exists():
        raise UnknownNameError("model", evaluated, MODELS)
    return _name(evaluated), _bundle(evaluated, options)


def _name(bundle: str | Path | Bundle) -> str:
    return str(bundle.folder if isinstance(bundle, Bundle) else bundle)


def _network(model: str, options: EvaluateOptions) -> DerainPicture:
    weights = options.weights
    if options.threads:
        torch.set_num_threads(options.threads)
    if weights is not None and (weights / STATE).is_file():
        return derain_with(load_average(model, weights), MODELS[model].facts)
    loaded = open_network(model, weights=weights)
    return derain_with(loaded.network, loaded.facts)


@contextlib.contextmanager
def _bundle(
    bundle: str | Path | Bundle, options: EvaluateOptions
) -> Iterator[DerainPicture]:
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    derainer = Derainer(bundle, options.backend, options.threads)
    with contextlib.closing(derainer):
        yield derainer.derain


def _figures(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "psnr_db": finite(result.score.psnr_db),
        "ssim": round(result.score.ssim, 4),
        "rainy_psnr_db": finite(result.rainy.psnr_db),
    }


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.2f} dB"


def _check_worst(path: Path, *, force: bool) -> None:
    """Raise unless the contact sheet may be written to `path`."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--worst {path} is no picture; choose from {', '.join(sorted(SUFFIXES))}"
        )
    try:
        require_writable(path)
    except OSError as error:
        raise ConfigError(
            f"--worst {path} cannot be written: {error.strerror}"
        ) from error
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise ConfigError(f"--worst {path} is no file, and is not replaced")
    if not force:
        raise ConfigError(f"--worst {path} exists; replace it with --force")


def _write_worst(
    path: Path, derain: DerainPicture, results: list[Result], pairs: Iterable[Pair]
) -> None:
    """Write the pictures that gained least: rainy, derained, clean."""

    def gain(result: Result) -> float:
        dry = math.isinf(result.rainy.psnr_db)
        return result.score.psnr_db - (0.0 if dry else result.rainy.psnr_db)

    chosen = {result.name: result for result in sorted(results, key=gain)[:WORST]}
    rows = []
    for pair in pairs:
        if (result := chosen.get(pair.name)) is not None:
            before, after = result.rainy.psnr_db, result.score.psnr_db
            rows.append(
                [
                    (f"{pair.name}: {_db(finite(before))}", pair.rainy),
                    (_db(finite(after)), derain(pair.rainy).copy()),
                    ("clean", pair.clean),
                ]
            )
    write_picture(path, contact_sheet(rows))
