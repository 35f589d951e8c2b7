"""``derain-compile``: a bundle in, the same bundle with an engine in it out."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from derain.core.commands import SIZE, Command, Parsed
from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange

if TYPE_CHECKING:
    from derain.runtime.tensorrt.engine_record import EngineBackend, EngineRecord
    from derain.runtime.tensorrt.preflight import Preflight

_log = logging.getLogger(__name__)

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not an amount of memory such as 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _parse_capability(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d", text.strip()):
        raise ValueError(f"{text!r} is not a compute capability such as 8.6")
    return text.strip()


@click.command(cls=Command)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    help="What builds the engine, and runs it.  [default: tensorrt if installed]",
)
@click.option(
    "--size", type=SIZE, help="One size, of a bundle that takes a range of sizes."
)
@click.option(
    "--dynamic",
    type=Parsed("MIN,OPT,MAX", SizeRange.parse),
    help="A smaller range of sizes than the bundle takes.",
)
@click.option(
    "--workspace",
    type=Parsed("BYTES", _parse_bytes),
    help="Most device memory that a layer may use, such as 512M.  [default: all]",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    help="From 0, fastest build, to 5, fastest engine.  [default: 3]",
)
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path),
    help="File with what earlier builds measured.  [default: one for each device and "
    "version in the user's cache folder]",
)
@click.option("--no-timing-cache", is_flag=True, help="Measure everything again.")
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="tensorrt: an engine for every GPU since Ampere; slower, and not on a Jetson.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="tensorrt: an engine that later versions of the same major version load, too.",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    type=Parsed("MAJOR.MINOR", _parse_capability),
    help="tensorrt-rtx: build for this kind of GPU, present or not; repeat for more.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Build nothing; list every node that TensorRT would refuse. With tensorrt-rtx "
    "installed it needs no GPU.",
)
@click.option("--force", is_flag=True, help="Build an engine again that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    bundle: Path,
    backend: EngineBackend | None,
    size: Size | None,
    dynamic: SizeRange | None,
    workspace: int | None,
    optimization_level: int | None,
    timing_cache: Path | None,
    no_timing_cache: bool,
    hardware_compatible: bool,
    version_compatible: bool,
    capabilities: tuple[str, ...],
    check: bool,
    force: bool,
    as_json: bool,
) -> None:
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
    if size is not None and dynamic is not None:
        raise click.UsageError("--size and --dynamic exclude each other")
    if timing_cache is not None and no_timing_cache:
        raise click.UsageError(
            "--timing-cache and --no-timing-cache exclude each other"
        )
    try:
        if check:
            _check(bundle, backend, as_json=as_json)
            return
        # Imported here so that --help needs no NumPy.
        from derain.runtime.tensorrt.build_options import BuildOptions
        from derain.runtime.tensorrt.compile import choose_backend, compile_bundle

        options = BuildOptions(
            workspace_bytes=workspace,
            optimization_level=optimization_level,
            hardware_compatible=hardware_compatible,
            version_compatible=version_compatible,
            compute_capabilities=tuple(dict.fromkeys(capabilities)),
            timing_cache=not no_timing_cache,
            timing_cache_file=timing_cache,
        )
        chosen = backend or choose_backend(options)
        record = compile_bundle(
            bundle,
            chosen,
            SizeRange.static(size) if size else dynamic,
            options,
            force=force,
        )
    except KeyboardInterrupt:
        raise EngineError(f"stopped by SIGINT; {bundle} is as it was") from None
    if as_json:
        answer = {"bundle": str(bundle), "engine": record.to_json()}
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo("\n".join(_table(bundle, record)))
    for note in record.notes:
        _log.warning("%s", note)


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
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _types(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


if __name__ == "__main__":
    main()
