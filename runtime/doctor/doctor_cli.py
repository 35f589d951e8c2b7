"""``derain-doctor``: looks at this machine and says what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from derain.core.commands import Command

if TYPE_CHECKING:
    from derain.runtime.doctor.machine import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "missing": "red", "absent": "white"}


@click.command(cls=Command)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--measure", is_flag=True, help="Try and measure video decoders: some seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def main(ctx: click.Context, bundle: Path | None, measure: bool, as_json: bool) -> None:
    """Look at this machine, and say what to do about what it lacks.

    With BUNDLE, a folder derain-export made, also whether it fits.

    ok: there, and good. warn: not as it should be. missing: needed, and not there.
    absent: not there, and not needed.

    Exit status: 1 when something needed is missing, else 0.
    """
    from derain.runtime.doctor.checks import check_machine

    findings = check_machine(bundle, slow=measure)
    if as_json:
        rows = {name: asdict(finding) for name, finding in findings.items()}
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(findings)
    if any(finding.status == "missing" for finding in findings.values()):
        ctx.exit(1)


def _print(findings: dict[str, Finding]) -> None:
    width = max(map(len, findings)) + 2
    for name, finding in findings.items():
        mark = click.style(finding.status.ljust(9), fg=_COLOURS[finding.status])
        click.echo(f"{mark}{name.ljust(width)}{finding.found}")
        if finding.fix:
            click.echo(f"{' ' * (9 + width)}-> {finding.fix}")


if __name__ == "__main__":
    main()
