"""``derain-batch``: a bundle and rainy clips in, as many derained ones out."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from derain.batch.options import BatchOptions
from derain.core.commands import Command
from derain.core.lazy import requires
from derain.core.options import options_from

if TYPE_CHECKING:
    from derain.core.interrupts import Interrupts

_log = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    "sources",
    required=True,
    multiple=True,
    metavar="PATH",
    help="Clips: a quoted pattern (** for folders to any depth), a folder (its videos, "
    "to any depth), a file, or the URI of one of these that fsspec opens (s3://, "
    "gs://, file:// ...). May be repeated.",
)
@click.option(
    "--output",
    required=True,
    metavar="FOLDER",
    help="Where the results go, in the same folders and under the same names; a URI, "
    "too. Beside each, NAME.derain.json says what it was made of.",
)
@options_from(BatchOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report as JSON to this file, too.",
)
@click.pass_context
def main(
    ctx: click.Context,
    bundle: Path,
    sources: tuple[str, ...],
    output: str,
    options: BatchOptions,
    as_json: bool,
    report: Path | None,
) -> None:
    """Remove the rain from many clips. BUNDLE is a folder derain-export made.

    Every clip is derained as derain-run does it, beside its result, and takes its place
    when it is whole. A second run does what is missing or has changed. A clip that
    fails is tried once more elsewhere, and never stops the others. Ctrl-C leaves whole
    clips alone, a second one quits now.

    Exit status: 0 when every clip is done, 1 when one has failed, 2 for wrong usage,
    130 after Ctrl-C and 143 after SIGTERM.

    \b
    Examples:
      derain-batch qsnet-fp32-1280x720 --source 'clips/**/*.mp4' --output derained/
      derain-batch qsnet-fp16-1280x720 --source s3://a/in --output s3://a/out \\
          --address 10.0.0.1:6379 --gpus-per-actor 0.5
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    if not (all(sources) and output):
        raise click.UsageError("--source and --output must not be empty")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Imported here so that --help needs neither NumPy nor Ray.
    from derain.core.atomic_files import write_text
    from derain.core.interrupts import Interrupts

    with requires("batch"):
        from derain.batch.report import check_report
        from derain.batch.run import run_batch
    if report is not None:
        check_report(report, force=options.force)

    watched: list[Interrupts] = []
    with ExitStack() as stack:

        def watch() -> Callable[[], object]:
            watched.append(stack.enter_context(Interrupts()))
            return watched[0].stopped

        # Ray prints what happens in the cluster, wherever our report goes.
        place = sys.stderr if _log.isEnabledFor(logging.DEBUG) else io.StringIO()
        stack.enter_context(redirect_stdout(place))
        done = run_batch(bundle, sources, output, options, watch=watch)
    received = watched[0].received if watched else None
    if received is not None:
        done = replace(done, stopped_by=received.name)
        click.echo(
            f"stopped by {received.name} with {done.count('left')} clips left", err=True
        )
    text = json.dumps(done.as_dict(), indent=2)
    if report is not None:
        write_text(report, text + "\n")
    click.echo(text if as_json else str(done))
    if received is not None:
        ctx.exit(128 + received)  # as the shell reports a signal
    ctx.exit(1 if done.count("failed") else 0)


if __name__ == "__main__":
    main()
