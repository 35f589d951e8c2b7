"""Networks and bundles on clips: PSNR and SSIM over time, flicker, warping error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from derain.benchmarks.quality.clip_scores import ClipResult, mean_figures, score_clip
from derain.benchmarks.quality.clips import Clips, open_clips, read_rain
from derain.benchmarks.quality.derainers import Evaluated, check_options, open_derainer
from derain.benchmarks.quality.evaluate_options import EvaluateOptions
from derain.core.errors import ConfigError
from derain.core.tables import text_table
from derain.models.allocator import keep_memory

_HEAD = ("PSNR", "SSIM", "first", "steady", "drift", "flicker", "warping", "frames", "")


@dataclass(frozen=True, slots=True)
class ClipEvaluation:
    """How good networks and bundles are on the same clips; ``print`` shows a table.

    Attributes:
        results: What became of every clip, by what derained it.
    """

    results: dict[str, list[ClipResult]]

    def figures(self) -> dict[str, Any]:
        """The means, and every clip's figures under ``each``, as a JSON object.

        See `ClipResult.figures`. Each clip counts alike in the means.
        """
        return {name: mean_figures(results) for name, results in self.results.items()}

    def table(self, *, each: bool = False) -> str:
        """The means as a table, with `each` the figures of every clip, too.

        PSNR and SSIM on Y; PSNR of the first frames and of the steady state; drift in
        dB; flicker and warping error in grey levels.
        """
        rows = [list(_HEAD)]
        for name, figures in self.figures().items():
            if len(rows) == 1:
                rows.append([*_cells(figures["rainy"]), "", "rainy"])
                clean = figures["clean"]["warping_levels"]
                rows.append([*[""] * 6, _levels(clean), "", "clean"])
            rows.append([*_cells(figures), str(figures["frames"]), name])
            for row in figures["each"] if each else ():
                rows.append([*_cells(row), str(row["frames"]), row["clip"]])
        return "\n".join(text_table(rows, left=(len(_HEAD) - 1,)))

    def __str__(self) -> str:
        return self.table()


def measure_clips(
    evaluated: Sequence[Evaluated], clips: Clips, options: EvaluateOptions
) -> ClipEvaluation:
    """Evaluate several on the same clips.

    Every clip is derained from its first frame, with an empty memory.

    Args:
        evaluated: Networks and bundles.
        clips: See `derain.benchmarks.quality.clips.Clips`.
        options: How.

    Raises:
        ConfigError: An option is for something that is not evaluated.
        MediaError: There are no clips, or a frame cannot be read.
        DerainError: It cannot be loaded or run.
    """
    check_options(evaluated, options)
    if options.dry and options.add_rain:
        raise ConfigError("--dry and --add-rain exclude each other")
    rain = read_rain(options.add_rain) if options.add_rain else None
    opened = open_clips(clips, rain, options.seed, dry=options.dry)
    keep_memory()
    results: dict[str, list[ClipResult]] = {}
    for each in evaluated:
        name, network = open_derainer(each, options)
        with network as derainer:
            results[name] = [
                score_clip(derainer, clip, options.every) for clip in opened
            ]
    return ClipEvaluation(results)


def _cells(figures: dict[str, Any]) -> list[str]:
    """The columns from PSNR to the warping error."""
    steady, drift = figures["steady"], figures.get("drift_db")
    return [
        _db(figures["psnr_db"]),
        f"{figures['ssim']:.4f}",
        _db(figures["first"]["psnr_db"]),
        "-" if steady is None else _db(steady["psnr_db"]),
        "" if drift is None else f"{drift:+.2f} dB",
        _levels(figures["flicker_levels"]),
        _levels(figures["warping_levels"]),
    ]


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.2f} dB"


def _levels(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
