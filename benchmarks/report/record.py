"""The JSON record of a run: everything that was measured, and all to repeat it.

The dataclasses here are the schema: the JSON file holds objects with exactly these
fields, and `read_record` refuses anything else. Times are in ms where a name ends in
``_ms`` and in seconds where it ends in ``_s``; sizes are ``"WIDTHxHEIGHT"``. A figure
that was not measured is null, never zero.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from derain.benchmarks.analysis.limits import NetworkLimits
from derain.benchmarks.analysis.roofline import RooflinePeak
from derain.benchmarks.latency.conditions import Conditions
from derain.benchmarks.latency.machine import MachineFacts
from derain.benchmarks.latency.percentiles import Latency, SpeedUp
from derain.benchmarks.latency.rounds import WarmUp
from derain.benchmarks.report.fields import from_json, to_json
from derain.core.atomic_files import write_bytes
from derain.core.errors import BenchmarkError
from derain.core.reading import read_json

# Raise it when a field is removed, changes meaning, or is added without a default.
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """From nothing to the first frame.

    Attributes:
        open_s: Start of the process, imports, loading and self-test.
        first_frame_s: The first frame after that; what is compiled late is here.
        total_s: Both.
    """

    open_s: float
    first_frame_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """One frame against the reference row's, in 8-bit values of all three channels.

    With a memory it is not the first one of a clip.

    Attributes:
        psnr_db: Null where the two are identical.
        identical: Share of values that are equal.
        max_levels: Largest difference, in grey levels.
    """

    psnr_db: float | None
    identical: float
    max_levels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Derained pictures against what was there without rain, on Y, means.

    Attributes:
        pictures: How many.
        psnr_db: Null where every picture is perfect.
        ssim: Structural similarity.
        rainy_psnr_db: The same of the rainy pictures.
        rainy_ssim: The same of the rainy pictures.
    """

    pictures: int
    psnr_db: float | None
    ssim: float
    rainy_psnr_db: float | None
    rainy_ssim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """One way to derain.

    Attributes:
        key: Its name in the table; `CANDIDATES` of `latency.candidates` explains the
            part before the slash, behind which stands the backend.
        summary: What it is.
        precision: Of the arithmetic.
        description: What really ran: library, version, device, threads.
        error: Why it failed, or null. The figures below are then what was measured
            before that.
        error_detail: Traceback of an error that is not ours.
        start_up: Null where the row had no process of its own.
        warm_up: How it got warm.
        latency: Frame to frame, from the raw latencies.
        rounds_ms: Raw latencies, by round.
        split_ms: Median of each stage: pre, h2d, compute, d2h, post.
        streamed_fps: Frames per second when frames follow each other without a pause.
        speed_up: Over the row ``eager``.
        speed_up_best: Over the fastest PyTorch row that is not ours.
        peak_host_bytes: Most resident memory of the row's process.
        peak_device_bytes: Most device memory.
        model_bytes: Length of its model file; null for PyTorch.
        quality: Against the reference row.
        truth: Against clean pictures, with ``--pairs``.
        joules_per_frame: Of the whole machine while the row ran.
        roofline_share: Roofline time over median latency; null where none was counted.
        state_bytes: Of what it remembers: read and written again with every frame; 0
            without a memory.
        look_ahead: How many frames its pictures come late.
    """

    key: str
    summary: str
    precision: str
    description: str
    error: str | None
    error_detail: str
    start_up: StartUp | None
    warm_up: WarmUp | None
    latency: Latency | None
    rounds_ms: list[list[float]]
    split_ms: dict[str, float]
    streamed_fps: float | None
    speed_up: SpeedUp | None
    speed_up_best: SpeedUp | None
    peak_host_bytes: int | None
    peak_device_bytes: int | None
    model_bytes: int | None
    quality: Quality | None
    truth: Truth | None
    joules_per_frame: float | None
    roofline_share: float | None
    state_bytes: int = 0
    look_ahead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One network at one size.

    Attributes:
        model: The network.
        size: Of the frames.
        weights: ``shipped``, ``random``, ``as constructed`` (seeded, a network of
            one's own) or the checkpoint's name. Speed does not depend on them.
        parameters: Of the network in PyTorch; null where there is no PyTorch.
        frames: What was derained.
        quality_reference: The row the others' quality is measured against.
        export_s: How long each export took.
        left_out: Rows that this machine cannot have, and why.
        rows: What was measured, in the order of the table.
        limits: Null where nothing could be counted.
    """

    model: str
    size: str
    weights: str
    parameters: int | None
    frames: str
    quality_reference: str | None
    export_s: dict[str, float]
    left_out: dict[str, str]
    rows: list[CandidateResult]
    limits: NetworkLimits | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run of ``derain-bench``.

    Attributes:
        schema: Version of this description.
        created: UTC date and time, ISO 8601.
        command: As it was given.
        commit: Git commit of the checkout, with ``+`` where files differ; null
            elsewhere.
        machine: Hardware and software.
        conditions: How the machine fared.
        threads: Processor threads of every row.
        processes: ``each``: a process for each row; ``one``: one for all.
        pace: Fields of `derain.benchmarks.latency.rounds.Pace`.
        energy_meter: What energy was read from; null without.
        ceilings: Measured limits of the machine.
        cases: The tables.
        quick: Measured with ``--quick``: a first answer, of few rounds.

    ``str(record)`` is what ``derain-bench`` prints.
    """

    schema: int
    created: str
    command: list[str]
    commit: str | None
    machine: MachineFacts
    conditions: Conditions
    threads: int
    processes: Literal["each", "one"]
    pace: dict[str, float]
    energy_meter: str | None
    ceilings: list[RooflinePeak]
    cases: list[Case]
    quick: bool = False

    @property
    def failure(self) -> str | None:
        """Why there is no figure at all; None where a row was measured."""
        rows = [row for case in self.cases for row in case.rows]
        if any(row.error is None for row in rows):
            return None
        if not rows:
            return "nothing was measured: every row was left out"
        return f"every row failed, the first, {rows[0].key}: {rows[0].error}"

    def __str__(self) -> str:
        from derain.benchmarks.report.text_tables import text

        return text(self)


def write_record(record: Record, path: Path) -> None:
    """Write `record` to `path`, whole or not at all.

    Raises:
        BenchmarkError: It cannot be written.
    """
    write_text(path, json.dumps(to_json(record), indent=1) + "\n")


def read_record(path: Path) -> Record:
    """The record in the file `path`.

    Raises:
        BenchmarkError: There is none, or it is of another schema, or damaged.
    """
    try:
        fields: Any = read_json(path)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON: {error}") from error
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if schema != SCHEMA:
        raise BenchmarkError(
            f"{path} is no record of derain-bench that this version reads: its schema "
            f"is {schema!r}, wanted {SCHEMA}"
        )
    return from_json(Record, fields, path.name)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all.

    Raises:
        BenchmarkError: It cannot be written.
    """
    write_file(path, text.encode())


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all.

    Raises:
        BenchmarkError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be written: {error.strerror}") from error
