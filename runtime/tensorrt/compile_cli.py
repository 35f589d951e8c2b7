"""``derain-compile``: a bundle in, the same bundle with an engine in it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from derain.core.commands import Command
from derain.core.errors import ConfigError, EngineError
from derain.core.options import options_from
from derain.runtime.tensorrt.compile_options import CompileOptions

if TYPE_CHECKING:
    from derain.runtime.tensorrt.engine_record import EngineBackend, EngineRecord
    from derain.runtime.tensorrt.preflight import Preflight


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(CompileOptions)
@click.option(
    "--check",
    is_flag=True,
    help="Build nothing; list every node that TensorRT would refuse. With tensorrt-rtx "
    "installed it needs no GPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(bundle: Path, options: CompileOptions, check: bool, as_json: bool) -> None:
    """Compile an engine for this device. BUNDLE is a folder derain-export made.

    The engine is a plan file in the bundle, which keeps all that it had; trtexec loads
    it, too. Its precision is that of the bundle. A bundle may hold engines for several
    devices; derain-run takes the one that fits. DLA is not supported.

    \b
    Examples:
      derain-compile qsnet-fp16-1280x720
      derain-compile qsnet-fp16-dynamic --size 1280x720
      derain-compile --backend tensorrt-rtx --compute-capability 8.6 qsnet-fp16-1280x720
    """  # noqa: D301 - \b is click's mark for text that is not wrapped
    try:
        options.check()
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    try:
        if check:
            _check(bundle, options.backend, as_json=as_json)
            return
        # Imported here so that --help needs no NumPy.
        from derain.runtime.tensorrt.compile import compile_bundle

        record = compile_bundle(bundle, options)
    except KeyboardInterrupt:
        raise EngineError(f"stopped by SIGINT; {bundle} is as it was") from None
    if as_json:
        answer = {"bundle": str(bundle), "engine": record.to_json()}
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo("\n".join(_table(bundle, record)))


def _check(bundle: Path, backend: EngineBackend | None, *, as_json: bool) -> None:
    from derain.core.bundle import Bundle
    from derain.runtime.tensorrt.preflight import check

    opened = Bundle.open(bundle)
    result = check(opened.model_path, backend)
    if as_json:
        click.echo(json.dumps({"bundle": str(bundle), **result.to_json()}, indent=2))
    else:
        click.echo("\n".join(_lines(result)))
    if result.refused:
        message = (
            f"{result.backend} {result.version} refuses {len(result.refused)} nodes of "
            f"{bundle}, and may refuse others that it has not come to"
        )
        manifest = opened.manifest
        if manifest.target != "tensorrt":
            message += (
                f"; run: derain-export --model {manifest.model} "
                f"--{manifest.precision} --target tensorrt"
            )
        raise EngineError(message)


def _lines(result: Preflight) -> list[str]:
    from derain.runtime.tensorrt.preflight import advice

    if not result.refused:
        return [
            f"{result.backend} {result.version} takes the graph: {result.layers} layers"
        ]
    return [f"{node}; {advice(node)}" for node in result.refused]


def _table(bundle: Path, record: EngineRecord) -> list[str]:
    rows = [
        ("engine", f"{bundle / record.file}, {record.bytes / 1e6:.2f} MB"),
        ("built for", record.built_for),
        ("frames", str(record.sizes)),
        (
            "network",
            f"convolutions and matrix products: {_types(record.network_types)}",
        ),
        ("layers", _types(record.layers) if record.layers else "not inspected"),
        ("time", f"{record.seconds:.1f} s"),
        ("peak memory", f"{record.peak_bytes / 1e6:.0f} MB"),
    ]
    if units := record.options.get("fused_units"):
        rows.append(("fused units", f"{units}, a kernel each"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _types(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


if __name__ == "__main__":
    main()
