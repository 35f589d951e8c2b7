"""``derain-bench``: how fast, how good, and what is left."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.benchmarks.latency.candidates import GIVEN, ROWS
from derain.core.commands import SIZE, Command
from derain.core.sizes import Size
from derain.models.registry import MODELS
from derain.runtime.backends import BACKENDS

if TYPE_CHECKING:
    from derain.benchmarks.report.record import Record

_log = logging.getLogger(__name__)

DEFAULT_SIZE = Size(1280, 720)
_DEFAULT_COMMAND = "run"
_ALL = "all"

_EPILOG = "\b\nRows:\n" + "\n".join(
    f"  {name:<24} {row.summary}" for name, row in ROWS.items()
)


class _Group(click.Group):
    """A group whose command is ``run`` where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [_DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """The options of ``run`` are ours too."""
        run.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Group, epilog=_EPILOG)
def main() -> None:
    """Measure derained frames per second, quality and limits, in one table.

    Rows take turns, frame by frame, so that what drifts hits all alike. Latency is from
    a uint8 frame in host memory to a uint8 frame in host memory.

    \b
    Examples:
      derain-bench --model qsnet --size 1280x720
      derain-bench --models all --size 512x512 --output all.json --plots plots/
      derain-bench --bundle qsnet-fp16-1280x720 --backend tensorrt
      derain-bench compare before.json after.json --fail-above 5
      derain-bench runtime --bundle qsnet-fp32-1280x720
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
    "--size",
    "sizes",
    type=SIZE,
    multiple=True,
    help=f"Size of the frames; repeat for more.  [default: {DEFAULT_SIZE}]",
)
@click.option(
    "--row",
    "rows",
    type=click.Choice([name for name in ROWS if name != GIVEN]),
    metavar="ROW",
    multiple=True,
    help="Measure this row, see below; repeat for more.  [default: all]",
)
@click.option(
    "--backend",
    "backends",
    type=click.Choice(list(BACKENDS)),
    multiple=True,
    help="What runs bundles; repeat for more.  [default: all that are there]",
)
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A bundle made elsewhere; repeat for more.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processor threads of every row; 0 takes one per core.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint of the one --model. Default: the weights that ship; random ones "
    "where none do, as speed does not depend on them.",
)
@click.option("--random-weights", is_flag=True, help="Untrained weights.")
@click.option(
    "--calibrate-on",
    default="",
    metavar="SOURCE",
    help="Rainy footage to calibrate INT8 rows on, as of derain-export.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of derain-calibrate for the INT8 rows of the one --model.",
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="Measure PSNR and SSIM, too, on files with a clean left and a rainy right "
    "half, or on folders rain and clean.",
)
@click.option(
    "--most-pairs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Take no more pairs than this.",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Seconds of measured rounds for each table.",
)
@click.option(
    "--min-rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="At least so many rounds, however long they take.",
)
@click.option(
    "--warm-up",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="A row that has not settled after so many seconds is measured as it is.",
)
@click.option(
    "--one-process",
    is_flag=True,
    help="Run all rows in this process instead of one each: no start-up times, no peak "
    "memory, and a row that crashes ends everything.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder to export into; what is there is used again.  [default: a temporary "
    "one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the record here."
)
@click.option(
    "--markdown", type=click.Path(path_type=Path), help="Write the tables here."
)
@click.option(
    "--plots", type=click.Path(path_type=Path), help="Write PNG plots into this folder."
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def run(
    models: tuple[str, ...],
    sizes: tuple[Size, ...],
    rows: tuple[str, ...],
    backends: tuple[str, ...],
    bundles: tuple[Path, ...],
    threads: int,
    weights: Path | None,
    random_weights: bool,
    calibrate_on: str,
    calibration: Path | None,
    pairs: Path | None,
    most_pairs: int,
    duration: float,
    min_rounds: int,
    warm_up: float,
    one_process: bool,
    work: Path | None,
    as_json: bool,
    output: Path | None,
    markdown: Path | None,
    plots: Path | None,
    force: bool,
) -> None:
    """Measure networks and bundles."""
    if not models and not bundles:
        raise click.UsageError("give --model, --bundle or both")
    if weights is not None and random_weights:
        raise click.UsageError("--weights and --random-weights exclude each other")
    if calibration is not None and calibrate_on:
        raise click.UsageError("--calibration and --calibrate-on exclude each other")
    chosen = list(MODELS) if _ALL in models else list(dict.fromkeys(models))
    if weights is not None and len(chosen) != 1:
        raise click.UsageError("--weights needs exactly one --model")
    if calibration is not None and len(chosen) != 1:
        raise click.UsageError("--calibration needs exactly one --model")
    for path in (output, markdown):
        _require_free(path, force=force)

    from derain.benchmarks.latency.benchmark import run as run_plan
    from derain.benchmarks.latency.machine import usable_cores
    from derain.benchmarks.latency.plan import Plan
    from derain.benchmarks.latency.rounds import Pace
    from derain.benchmarks.report.record import write_record, write_text
    from derain.benchmarks.report.text_tables import markdown as as_markdown
    from derain.benchmarks.report.text_tables import text
    from derain.core.lazy import load

    write_plots = None
    if plots is not None:
        write_plots = load("derain.benchmarks.report.plots", "write_plots", "bench")
    with ExitStack() as stack:
        if work is None:
            folder = tempfile.TemporaryDirectory(prefix="derain-bench-")
            work = Path(stack.enter_context(folder))
        record = run_plan(
            Plan(
                models=chosen,
                sizes=sizes or (DEFAULT_SIZE,),
                rows=rows or tuple(ROWS),
                backends=backends,
                bundles=bundles,
                threads=threads or usable_cores(),
                weights=weights,
                random_weights=random_weights,
                calibration=calibration,
                calibrate_on=calibrate_on,
                pairs=pairs,
                most_pairs=most_pairs,
                pace=Pace(
                    duration_s=duration, min_rounds=min_rounds, warm_up_s=warm_up
                ),
                work=work,
                processes="one" if one_process else "each",
            ),
            ["derain-bench", *sys.argv[1:]],
            _log.info,
        )
    if output is not None:
        write_record(record, output)
    if markdown is not None:
        write_text(markdown, as_markdown(record))
    if write_plots is not None:
        write_plots(record, plots)
    click.echo(_json(record) if as_json else text(record))


@main.command(cls=Command)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--fail-above",
    type=click.FloatRange(min=0),
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
@click.option("--frames", type=click.IntRange(min=10), default=200, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processor threads of the network; 0 takes one per core.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runtime(bundle: Path | None, frames: int, threads: int, as_json: bool) -> None:
    """Measure the runtime itself: its loop, its memory, its start-up."""
    from derain.benchmarks.latency.runtime_cost import measure_runtime

    cost = measure_runtime(bundle, frames, threads, _log.info)
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


def _require_free(path: Path | None, *, force: bool) -> None:
    if path is not None and path.exists() and not force:
        raise click.ClickException(f"{path} exists; replace it with --force")


def _json(value: Record | Any) -> str:
    from derain.benchmarks.report.fields import to_json

    return json.dumps(to_json(value), indent=1)


if __name__ == "__main__":
    main()
