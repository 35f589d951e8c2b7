"""The options of a run, each once: for ``derain-run``, its TOML file and `run`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import click

from derain.core.commands import COUNT, THREADS, Number, Parsed, Whole
from derain.core.errors import ConfigError
from derain.core.numbers import rate, shortened
from derain.core.options import option
from derain.runtime.backends import AUTO, BACKENDS
from derain.runtime.backends.choice import BackendChoice
from derain.runtime.video.sink_options import DEFAULT_CRF

View = Literal["derained", "side-by-side", "split", "rain"]
Late = Literal["drop", "pass", "slow"]
Gating = Literal["off", "auto"]
Style = Literal["text", "json"]
Address = tuple[str, int]

_BACKENDS_HELP = "; ".join(f"{name}: {row.summary}" for name, row in BACKENDS.items())


def parse_address(value: str | Address) -> Address:
    """Host and port from ``"127.0.0.1:9400"``.

    A host has at most 253 ASCII characters: RFC 1035.

    Raises:
        ValueError: It is none.
    """
    host, port = value.rpartition(":")[::2] if isinstance(value, str) else value
    host, port = str(host).strip("[]"), str(port)
    valid = re.fullmatch(r"[!-~]{1,253}", host) and re.fullmatch("[0-9]{1,5}", port)
    if not valid or int(port) > 65535:
        raise ValueError(f"{shortened(value)} is not an address such as 127.0.0.1:9400")
    return host, int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """What can be chosen for one source, also where there are several.

    Raises:
        ConfigError: A value makes no sense.
    """

    resize: bool = option(
        False,
        "Fit frames that the bundle does not take into it, made smaller where they are "
        "larger, their shape kept, and take the rain found there off the full picture.",
    )
    view: View = option(
        "derained",
        "What the sinks show: the result, before and after, or the rain alone.",
        kind=click.Choice(get_args(View)),
        show_default=True,
    )
    overlay: bool = option(False, "Write the rates into the picture.")
    max_latency_ms: float | None = option(
        None,
        "Of a live source: how old a frame may get from the camera to the first sink. "
        "Without, the newest frame wins.",
        kind=Number(1, 3_600_000),
        metavar="MS",
    )
    late: Late = option(
        "drop",
        "What becomes of a frame that would be older: it is dropped, or passes as it "
        "came; slow: where the network cannot keep up, the rate is lowered evenly, of "
        "several cameras that of the lowest --priority first.",
        kind=click.Choice(get_args(Late)),
        show_default=True,
    )
    priority: int = option(
        0,
        "Of several cameras, those of a lower one give way first where the network "
        "cannot keep up.",
        kind=Whole(0, 1000),
        metavar="N",
        show_default=True,
    )
    gate: Gating = option(
        "off",
        "auto: let dry scenes pass through untouched, and look now and then.",
        kind=click.Choice(get_args(Gating)),
        show_default=True,
    )
    limit: int | None = option(None, "Stop after N frames.", kind=COUNT, metavar="N")
    fps: Fraction | float | str | None = option(
        None,
        "Frame rate of a video made of pictures.  [default: 25]",
        kind=Parsed("FPS", rate),
    )
    crf: int = option(
        DEFAULT_CRF,
        "Quality of a video, from 0 (lossless) to 51; 6 more halves the file.",
        kind=Whole(0, 51),
        show_default=True,
    )
    force: bool = option(
        False, "Replace files that exist; write into a folder that is not empty."
    )

    def __post_init__(self) -> None:
        _check_names(self, view=get_args(View), late=get_args(Late))
        _check_names(self, gate=get_args(Gating))
        _parse(self, fps=rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(CameraOptions):
    """What can be chosen about a run, besides bundle, sources and sinks.

    Raises:
        ConfigError: A value makes no sense.
    """

    bundles: Sequence[Path | str] = option(
        (),
        "Another bundle, for frames that BUNDLE does not take. May be repeated; the "
        "first one that takes a size is opened when it comes.",
        kind=click.Path(path_type=Path),
        metavar="PATH",
        multiple=True,
    )
    stats: Style | None = option(
        None,
        "Write a line of statistics to standard error every few seconds.",
        kind=click.Choice(get_args(Style)),
    )
    stats_every: float = option(
        5.0,
        "How often.",
        kind=Number(0.1, 86_400),
        metavar="SECONDS",
        show_default=True,
    )
    metrics: Address | str | None = option(
        None,
        "Serve the statistics for Prometheus at http://HOST:PORT/metrics.",
        kind=Parsed("HOST:PORT", parse_address),
    )
    preview: Address | str | None = option(
        None,
        "Show before and after in browsers, at http://HOST:PORT/ (0.0.0.0: on all "
        "networks of this machine).",
        kind=Parsed("HOST:PORT", parse_address),
    )
    preview_token: str | None = option(
        None,
        "Show it only to who opens http://HOST:PORT/?token=TOKEN. Other users of this "
        "machine do not see it as DERAIN_PREVIEW_TOKEN or in the configuration file.",
        metavar="TOKEN",
        envvar="DERAIN_PREVIEW_TOKEN",
    )
    backend: str = option(
        AUTO,
        f"What runs the network; auto: the fastest that works here. {_BACKENDS_HELP}.",
        kind=BackendChoice(),
        show_default=True,
    )
    threads: int = option(
        0,
        "Processor threads of the network; 0 takes one per core.",
        kind=THREADS,
        show_default=True,
    )

    def __post_init__(self) -> None:
        CameraOptions.__post_init__(self)  # super() knows no class with slots
        _check_names(self, stats=(None, *get_args(Style)))
        _parse(self, metrics=parse_address, preview=parse_address)

    def keywords(self) -> RunKeywords:
        """The same as keywords of `derain.runtime.pipeline.run.run`."""
        values: Any = {each.name: getattr(self, each.name) for each in fields(self)}
        found: RunKeywords = values
        return found

    def of_a_camera(self) -> CameraOptions:
        """What holds for each camera that does not say otherwise."""
        names = [each.name for each in fields(CameraOptions)]
        return CameraOptions(**{name: getattr(self, name) for name in names})


def _check_names(options: CameraOptions, **known: tuple[object, ...]) -> None:
    for name, names in known.items():
        if getattr(options, name) not in names:
            value = getattr(options, name)
            raise ConfigError(f"{name} is {value!r}, wanted one of {names}")


def _parse(options: CameraOptions, **parsers: Callable[[Any], object]) -> None:
    for name, parse in parsers.items():
        if (value := getattr(options, name)) is not None:
            try:
                object.__setattr__(options, name, parse(value))
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from error


class CameraKeywords(TypedDict, total=False):
    """The fields of `CameraOptions`, as keywords."""

    resize: bool
    view: View
    overlay: bool
    max_latency_ms: float | None
    late: Late
    priority: int
    gate: Gating
    limit: int | None
    fps: Fraction | float | str | None
    crf: int
    force: bool


class RunKeywords(CameraKeywords, total=False):
    """The fields of `RunOptions`, as keywords."""

    bundles: Sequence[Path | str]
    stats: Style | None
    stats_every: float
    metrics: Address | str | None
    preview: Address | str | None
    preview_token: str | None
    backend: str
    threads: int
