"""The options of a batch, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from derain.core.commands import Number, Whole
from derain.core.options import option, same_option
from derain.runtime.pipeline.options import Gating, RunKeywords, RunOptions, View


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What can be chosen about a batch, besides bundle, sources and output.

    Raises:
        ConfigError: A value makes no sense.
    """

    actors: int | None = option(
        None,
        "How many clips are derained at a time, each by a process that holds BUNDLE.  "
        "[default: as many as there are cores, or room in the cluster]",
        kind=Whole(1, 10**5),
        metavar="N",
    )
    cpus_per_actor: float = option(
        1.0,
        "Cores of each; the network takes as many threads, and at least one.",
        kind=Number(0, 1024),
        metavar="N",
        show_default=True,
    )
    gpus_per_actor: float = option(
        0.0,
        "GPUs of each: 1, or 0.25 for four that share one.",
        kind=Number(0, 1024),
        metavar="N",
        show_default=True,
    )
    address: str | None = option(
        None,
        "Join the Ray cluster at HOST:PORT (or auto: the one of this machine). "
        "Without, Ray runs on this machine for as long as the batch.",
        metavar="ADDRESS",
    )
    resize: bool = same_option(RunOptions, "resize")
    bundles: Sequence[Path | str] = same_option(RunOptions, "bundles")
    view: View = same_option(RunOptions, "view")
    gate: Gating = same_option(RunOptions, "gate")
    limit: int | None = same_option(RunOptions, "limit")
    fps: Fraction | float | str | None = same_option(RunOptions, "fps")
    crf: int = same_option(RunOptions, "crf")
    backend: str = same_option(RunOptions, "backend")
    force: bool = option(
        False,
        "Replace results that another program has written or changed. Those of "
        "derain-batch itself are replaced where clip, bundle or options are others.",
    )

    def __post_init__(self) -> None:
        RunOptions(**self.run_keywords())

    @property
    def threads(self) -> int:
        """Processor threads of each network."""
        return max(1, int(self.cpus_per_actor))

    def run_keywords(self) -> RunKeywords:
        """The options of the run that derains a clip."""
        return RunKeywords(
            resize=self.resize,
            bundles=[str(path) for path in self.bundles],
            view=self.view,
            gate=self.gate,
            limit=self.limit,
            fps=self.fps,
            crf=self.crf,
            backend=self.backend,
            threads=self.threads,
        )
