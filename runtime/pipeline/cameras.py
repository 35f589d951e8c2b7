"""The cameras of a run: ``[[camera]]`` tables of a TOML file, or ``--source NAME=...``.

::

    bundle = "qsnet-fp16-1280x720"
    max-latency-ms = 150            # of each camera that does not say otherwise

    [[camera]]
    name = "yard"
    source = "rtsp://10.0.0.7/stream"
    sink = ["rtsp://server/yard", "yard.mp4"]
    priority = 2

What a camera may say are the options of `CameraOptions`, by their long names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from derain.core.config_file import filled
from derain.core.errors import ConfigError
from derain.core.options import options_from
from derain.runtime.pipeline.options import CameraOptions
from derain.runtime.video.kinds import is_pipe, scheme
from derain.runtime.video.sinks import place_of
from derain.runtime.video.uris import public

TABLE = "camera"

# What may stand in an address, in a label and in front of a message.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PAIR = re.compile(rf"({_NAME.pattern})=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """One camera of several.

    Attributes:
        name: What everything calls it.
        source: Where its frames come from.
        sinks: Where they go.
        options: What was chosen for it.
    """

    name: str
    source: str
    sinks: tuple[str, ...]
    options: CameraOptions


@click.command()
@click.option("--name", required=True)
@click.option("--source", required=True)
@click.option("--sink", "sinks", multiple=True)
@options_from(CameraOptions)
def _of_a_camera(
    name: str, source: str, sinks: tuple[str, ...], options: CameraOptions
) -> CameraConfig:
    return CameraConfig(name=name, source=source, sinks=sinks, options=options)


def cameras_in(
    place: str, tables: Any, common: CameraOptions, *, need_sinks: bool
) -> list[CameraConfig]:
    """The cameras in the ``[[camera]]`` `tables` of the file `place`.

    Args:
        place: What messages call the file.
        tables: What TOML made of them.
        common: What holds for each that does not say otherwise.
        need_sinks: Whether each must have a sink, as there is no page.

    Raises:
        ConfigError: A key or a value does not fit, two cameras have one name, or two
            write to the same place.
    """
    if not isinstance(tables, list):
        raise ConfigError(f"{place}: {TABLE} is no table, wanted [[{TABLE}]] tables")
    if not tables:
        raise ConfigError(f"{place} has no [[{TABLE}]] tables")
    cameras = []
    for number, table in enumerate(tables, 1):
        where = f"{place}, {TABLE} {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{where} is {table!r}, wanted a table")
        camera: CameraConfig = filled(where, table, _of_a_camera)
        names = [key.replace("-", "_") for key in table]
        own = {
            name: getattr(camera.options, name)
            for name in names
            if name not in ("name", "source", "sink")
        }
        cameras.append(replace(camera, options=replace(common, **own)))
    _check(place, cameras, need_sinks=need_sinks)
    return cameras


def cameras_of_pairs(
    sources: Sequence[str],
    sinks: Sequence[str],
    common: CameraOptions,
    *,
    need_sinks: bool,
) -> list[CameraConfig]:
    """The cameras of repeated ``--source NAME=...`` and ``--sink NAME=...``.

    Raises:
        ConfigError: One has no name, or as `cameras_in`.
    """
    named = [_pair("--source", text) for text in sources]
    to: Mapping[str, list[str]] = {name: [] for name, _ in named}
    for text in sinks:
        name, uri = _pair("--sink", text)
        if name not in to:
            raise ConfigError(
                f"--sink {public(text)} is of no camera; wanted one of {', '.join(to)}"
            )
        to[name].append(uri)
    cameras = [
        CameraConfig(name=name, source=uri, sinks=tuple(to[name]), options=common)
        for name, uri in named
    ]
    _check("--source", cameras, need_sinks=need_sinks)
    return cameras


def _pair(option: str, text: str) -> tuple[str, str]:
    match = _PAIR.fullmatch(text)
    if match is None or not match[2]:
        raise ConfigError(
            f"{option} {public(text)} has no name; of several cameras give each its "
            f"own: {option} yard=PATH"
        )
    return match[1], match[2]


def _check(place: str, cameras: Sequence[CameraConfig], *, need_sinks: bool) -> None:
    seen: set[str] = set()
    writers: dict[object, str] = {}
    read = {place_of(each.source): each.name for each in cameras}
    for camera in cameras:
        name = camera.name
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{place}: {name!r} is no name for a camera; wanted letters, digits, "
                "dots, dashes and underscores, up to 64"
            )
        if name in seen:
            raise ConfigError(
                f"{place}: two cameras are called {name!r}; give each its own name"
            )
        seen.add(name)
        if need_sinks and not camera.sinks:
            raise ConfigError(f"{place}: {name} has no sink, and there is no preview")
        for sink in camera.sinks:
            where = place_of(sink)
            if where is None:
                continue
            if where in writers:
                other = writers[where]
                who = f"{name} writes twice"
                if other != name:
                    who = f"{other} and {name} both write"
                raise ConfigError(
                    f"{place}: {who} to {public(sink)}; give each its own sink"
                )
            writers[where] = name
            if where in read and scheme(sink) == "" and not is_pipe(sink):
                raise ConfigError(
                    f"{place}: {name} writes to {public(sink)}, which {read[where]} "
                    "reads; choose another sink"
                )
