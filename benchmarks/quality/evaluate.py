"""`evaluate`: how good networks and bundles are on pairs of pictures, and on clips."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from derain.benchmarks.own_network import own_network_values
from derain.benchmarks.quality.clip_evaluation import ClipEvaluation, measure_clips
from derain.benchmarks.quality.clips import Clips
from derain.benchmarks.quality.derainers import (
    Evaluated,
    check_options,
    open_derainer,
)
from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.atomic_files import require_writable
from derain.core.contact_sheet import contact_sheet
from derain.core.errors import ConfigError, DerainError
from derain.core.pairs import Pair, open_pairs, two_folders
from derain.core.pictures import SUFFIXES, write_picture
from derain.core.tables import text_table
from derain.models.allocator import keep_memory
from derain.training.data import dry
from derain.training.validation import (
    DerainPicture,
    Result,
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


@overload
def evaluate(
    model_or_bundle: Evaluated, pairs: Pairs, **options: Unpack[EvaluateKeywords]
) -> Evaluation: ...


@overload
def evaluate(
    model_or_bundle: Evaluated,
    pairs: None = None,
    *,
    clips: Clips,
    **options: Unpack[EvaluateKeywords],
) -> ClipEvaluation: ...


def evaluate(
    model_or_bundle: Evaluated,
    pairs: Pairs | None = None,
    *,
    clips: Clips | None = None,
    **options: Unpack[EvaluateKeywords],
) -> Evaluation | ClipEvaluation:
    """Derain pairs of pictures or clips and compare with the truth: PSNR, SSIM on Y.

    Pictures have nothing to do with each other: a network with a memory begins anew
    with each. In a clip it remembers, and how steady the clip is is measured, too.

    Args:
        model_or_bundle: A network's name (``derain.models()``) or
            ``package.module:Class``, a live network whose input and output are
            `(1, 3, H, W)` RGB in [0, 1], with or without a memory, a bundle or its
            folder.
        pairs: A folder of files with a clean left and a rainy right half, or with
            folders ``rain`` and ``clean``; two folders, of rainy and of clean pictures;
            or pairs: name, rainy and clean picture, each `(H, W, 3)` uint8 BGR.
        clips: In place of `pairs`: a folder with folders ``rain`` and ``clean`` of
            frames, or of such folders; with ``add_rain`` clean frames are enough. Or
            the frames of each clip as pairs, by the clip's name.
        options: See `EvaluateOptions`.

    Returns:
        Every pair's or clip's figures and their means; ``print`` shows what
        ``derain-eval`` does.

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
        >>> evaluation = derain.evaluate("qsnet", clips="a1", every=4)
        >>> sorted(evaluation.figures()["qsnet, PyTorch"]["first"])
        ['psnr_db', 'ssim']
    """
    given: dict[str, Any] = {**options, **own_network_values(options)}
    if given.get("weights") is not None:
        given["weights"] = Path(given["weights"])
    chosen = EvaluateOptions(**given)
    if (pairs is None) == (clips is None):
        raise ConfigError("give pairs of pictures, or clips")
    if clips is not None:
        return measure_clips([model_or_bundle], clips, chosen)
    assert pairs is not None  # one of the two is given
    return measure_quality([model_or_bundle], pairs, chosen)


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
        ConfigError: An option is for something that is not evaluated, or `worst` must
            not be written.
        DerainError: See `evaluate`.
    """
    check_options(evaluated, options)
    if options.add_rain:
        raise ConfigError("rain is added to clips (--clips), not to pairs")
    if worst is not None:
        _check_worst(worst, force=force)
    keep_memory()
    source = _reader(pairs, options)
    found: dict[str, list[Result]] = {}
    for each in evaluated:
        name, opened = open_derainer(each, options)
        with opened as derainer:
            derain_all = in_strips(derainer.picture)
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
