"""``derain-bench``: how fast, how good, and what is left."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from derain.benchmarks.latency.candidates import CANDIDATES
from derain.benchmarks.latency.options import DEFAULT_SIZE, BenchmarkOptions
from derain.core.atomic_files import require_free
from derain.core.commands import SIZE, THREADS, Command, DefaultGroup, Number, Whole
from derain.core.errors import BenchmarkError
from derain.core.lazy import requires
from derain.core.options import options_from
from derain.core.sizes import Size
from derain.models.registry import MODELS

_DEFAULT_COMMAND = "run"

_EPILOG = "\b\nRows:\n" + "\n".join(
    f"  {name:<24} {row.summary}" for name, row in CANDIDATES.items()
)


@click.group(cls=DefaultGroup, default=_DEFAULT_COMMAND, epilog=_EPILOG)
def main() -> None:
    """Measure derained frames per second, quality and limits, in one table.

    Rows take turns, frame by frame, so that what drifts hits all alike. Latency is from
    a uint8 frame in host memory to a uint8 frame in host memory.

    \b
    Examples:
      derain-bench --model qsnet --size 640x360 --quick
      derain-bench --model qsnet --size 1280x720
      derain-bench --models all --size 512x512 --output all.json --plots plots/
      derain-bench --bundle qsnet-fp16-1280x720 --backend tensorrt
      derain-bench --together --bundle a-fp32-640x360 --bundle b-fp32-640x360
      derain-bench compare before.json after.json --fail-above 5
      derain-bench runtime --bundle qsnet-fp32-1280x720
      derain-bench cameras qsnet-fp32-640x360 --cameras 4 --fps 15
      derain-bench states --size 1280x720
      derain-bench bytes qsnet-fp16-tensorrt-1280x720
    """  # noqa: D301 - \b is click's mark for text that is not wrapped


@main.command(_DEFAULT_COMMAND, cls=Command, hidden=True)
@click.option(
    "--model",
    "--models",
    "models",
    multiple=True,
    help=f"A network: {', '.join(MODELS)}, package.module:Class, or all; repeat for "
    "more.",
)
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A bundle made elsewhere; repeat for more.",
)
@options_from(BenchmarkOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the record here."
)
@click.option(
    "--markdown", type=click.Path(path_type=Path), help="Write the tables here."
)
@click.option("--csv", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option(
    "--latex", type=click.Path(path_type=Path), help="Write LaTeX tables here."
)
@click.option(
    "--plots", type=click.Path(path_type=Path), help="Write PNG plots into this folder."
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def run(
    models: tuple[str, ...],
    bundles: tuple[Path, ...],
    options: BenchmarkOptions,
    as_json: bool,
    output: Path | None,
    markdown: Path | None,
    csv: Path | None,
    latex: Path | None,
    plots: Path | None,
    force: bool,
) -> None:
    """Measure networks and bundles."""
    if not models and not bundles:
        raise click.UsageError("give --model, --bundle or both")
    named = len(MODELS) if "all" in models else len(set(models))
    if conflict := options.conflict(named):
        raise click.UsageError(conflict)
    for path in (output, markdown, csv, latex):
        if path is not None:
            require_free(path, force=force)
    if plots is not None:
        _require_folder(plots, force=force)

    from derain.benchmarks.report import text_tables
    from derain.benchmarks.report.record import write_record, write_text

    with requires("export"):
        from derain.benchmarks.latency.benchmark import measure
    if plots is not None:
        with requires("bench"):
            from derain.benchmarks.report.plots import write_plots
    command = ["derain-bench", *sys.argv[1:]]
    record = measure([*models, *bundles], options, command)
    if output is not None:
        write_record(record, output)
    for path, write in (
        (markdown, text_tables.markdown),
        (csv, text_tables.comma_separated),
        (latex, text_tables.latex),
    ):
        if path is not None:
            write_text(path, write(record))
    if plots is not None:
        write_plots(record, plots)
    click.echo(_json(record) if as_json else record)
    if record.failure:
        raise BenchmarkError(record.failure)


@main.command(cls=Command)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--fail-above",
    type=Number(0, 10**6),
    metavar="PERCENT",
    help="Exit with status 1 where a row became slower by more than this, beyond the "
    "noise, or fails now.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def compare(
    ctx: click.Context,
    before: Path,
    after: Path,
    fail_above: float | None,
    as_json: bool,
) -> None:
    """Say what changed between two records, beyond the noise."""
    from derain.benchmarks.report.compare import compare_records
    from derain.benchmarks.report.record import read_record

    comparison = compare_records(read_record(before), read_record(after))
    click.echo(_json(comparison) if as_json else comparison.text())
    if fail_above is not None and comparison.worse_than(fail_above):
        ctx.exit(1)


@main.command(cls=Command)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Measure the runtime with this bundle.  [default: qsnet at 160x120, exported "
    "for it]",
)
@click.option("--frames", type=Whole(10, 10**6), default=200, show_default=True)
@click.option(
    "--threads",
    type=THREADS,
    default=0,
    show_default=True,
    help="Processor threads of the network; 0 takes one per core.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runtime(bundle: Path | None, frames: int, threads: int, as_json: bool) -> None:
    """Measure the runtime itself: its loop, its memory, its start-up."""
    from derain.benchmarks.latency.runtime_cost import measure_runtime

    cost = measure_runtime(bundle, frames, threads)
    click.echo(_json(cost) if as_json else cost.text())


@main.command("cameras", cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--cameras", type=Whole(1, 64), default=4, show_default=True)
@click.option(
    "--fps",
    type=Number(1, 1000),
    default=15.0,
    show_default=True,
    help="Of each camera.",
)
@click.option(
    "--max-latency-ms",
    type=Number(1, 3_600_000),
    default=200.0,
    show_default=True,
    help="How old a frame may get.",
)
@click.option("--rounds", type=Whole(1, 100), default=3, show_default=True)
@click.option(
    "--seconds",
    type=Number(0.2, 600),
    default=4.0,
    show_default=True,
    help="Of each round.",
)
@click.option("--threads", type=THREADS, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure_many(bundle: Path, as_json: bool, **options: Any) -> None:
    """Say how many cameras this machine carries, and what one process saves."""
    from derain.benchmarks.latency.cameras import measure_cameras

    found = measure_cameras(bundle, **options)
    click.echo(_json(found) if as_json else found.text())


@main.command(cls=Command)
@click.option("--size", type=SIZE, default=DEFAULT_SIZE, show_default=True)
@click.option(
    "--rounds",
    type=Whole(3, 10**6),
    default=40,
    show_default=True,
    help="How often the two take turns, a frame each.",
)
@click.option(
    "--threads",
    type=Whole(1, 1024),
    default=1,
    show_default=True,
    help="Processor threads; with one, processor time is that of the frame alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def states(size: Size, rounds: int, threads: int, as_json: bool) -> None:
    """Measure what a memory costs: a network with states and without, taking turns."""
    if size.width % 2 or size.height % 2:
        raise click.UsageError("--size: width and height must be even")
    with requires("export"):
        from derain.benchmarks.latency.states_cost import measure_states

    cost = measure_states(size, rounds, threads)
    click.echo(_json(cost) if as_json else cost.text())


@main.command("bytes", cls=Command)
@click.argument(
    "bundles",
    type=click.Path(path_type=Path),
    nargs=-1,
    required=True,
    metavar="BUNDLE...",
)
@click.option(
    "--size",
    type=SIZE,
    help="Size of the frames.  [default: the size the bundle was exported for]",
)
@click.option("--kernels", is_flag=True, help="List the kernels that move most, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure_bundle_bytes(
    bundles: tuple[Path, ...], size: Size | None, kernels: bool, as_json: bool
) -> None:
    """Compile bundles, and say what their kernels read and write a frame.

    And what that takes at least on each Jetson. TensorRT-RTX compiles without a GPU.
    """
    from derain.benchmarks.analysis.byte_floors import measure_bytes

    found = [measure_bytes(bundle, size) for bundle in bundles]
    if as_json:
        click.echo(json.dumps([json.loads(_json(each)) for each in found], indent=1))
    else:
        click.echo("\n\n".join(each.text(kernels=kernels) for each in found))


@main.command(cls=Command)
@click.option("--size", type=SIZE, default="1920x1080", show_default=True)
@click.option("--rounds", type=Whole(1, 10**6), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the record here."
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def unit(
    size: Size, rounds: int, as_json: bool, output: Path | None, force: bool
) -> None:
    """Measure the fused kernel of qsnet's units on this GPU, against PyTorch.

    Bytes of memory: ncu --metrics dram__bytes.sum derain-bench unit --rounds 1
    """
    if output is not None:
        require_free(output, force=force)
    from derain.core.atomic_files import write_text
    from derain.core.tables import text_table

    with requires("export"):
        from derain.benchmarks.latency.fused_unit import measure_units, table
    record = measure_units(size, rounds)
    text = json.dumps(record, indent=1)
    if output is not None:
        write_text(output, text + "\n")
    lines = [f"{record['what']}, {record['device']}, PyTorch {record['torch']}"]
    click.echo(text if as_json else "\n".join([*lines, *text_table(table(record))]))


def _require_folder(path: Path, *, force: bool) -> None:
    """Raise unless plots may be written into the folder `path`.

    Raises:
        BenchmarkError: It cannot be one, or has pictures that nobody wants replaced.
    """
    if path.is_dir():
        if not force and any(path.glob("*.png")):
            raise BenchmarkError(
                f"{path} holds pictures; name another folder, or replace those of the "
                "same name with --force"
            )
    elif os.path.lexists(path):
        raise BenchmarkError(f"{path} is no folder; name another one for the plots")
    require_free(path / "plot.png", force=True)


def _json(value: Any) -> str:
    from derain.benchmarks.report.fields import to_json

    return json.dumps(to_json(value), indent=1)


if __name__ == "__main__":
    main()
