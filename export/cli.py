"""``derain-export``: a network in, a proven bundle out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from derain.calibration.options import (
    NAMES,
    CalibrationOptions,
    given,
    int8_options,
)
from derain.core.commands import Command
from derain.core.errors import ConfigError
from derain.core.interrupts import signals_unwind
from derain.core.lazy import requires
from derain.core.manifest import Precision
from derain.core.options import options_from
from derain.core.sizes import SizeRange
from derain.export.options import ExportOptions
from derain.models.allocator import use_huge_pages
from derain.models.registry import MODELS

if TYPE_CHECKING:
    from derain.export.pipeline import ExportResult

_EPILOG = f"""\b
Networks:
  {"  ".join(MODELS)}
  package.module:Class   one of your own: any nn.Module from (N, 3, H, W) in [0, 1]
                         (with a memory: see derain.models.video_network)

\b
Examples:
  derain-export --model qsnet --fp16 --size any
  derain-export --model nledn --weights nledn.pth --size 640x480
  derain-export --model mynets.derainer:Net --weights best.pth --bgr --rain
  derain-export --model mynets.video:Net --window 5 --look-ahead 2
  derain-export --model qsnet --int8 --calibrate-on rainy.mp4
"""


DEFAULTS = ExportOptions()


@click.command(cls=Command, epilog=_EPILOG)
@click.option("--model", required=True, help="A network, see below.")
@click.option(
    "--fp32",
    "precision",
    flag_value="fp32",
    default=DEFAULTS.precision == "fp32",
    help="FP32 tensors (default).",
)
@click.option("--fp16", "precision", flag_value="fp16", help="FP16 tensors.")
@click.option(
    "--int8",
    "precision",
    flag_value="int8",
    help="Convolutions in INT8 where the picture allows it, the rest in FP16 "
    "(--target onnxruntime: FP32).",
)
@options_from(ExportOptions)
@int8_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    context: click.Context,
    model: str,
    precision: Precision,
    options: ExportOptions,
    settings: CalibrationOptions,
    as_json: bool,
) -> None:
    """Export a deraining network to ONNX and prove that nothing was lost.

    The result is a bundle: a folder with model.onnx (uint8 BGR frame in, derained frame
    out), a manifest and a golden frame. derain-run derains with it, without PyTorch.
    """
    options = replace(options, precision=precision, int8=settings)
    _check_int8(context, precision)
    try:
        options.check(own=":" in model)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    use_huge_pages()  # before torch is there
    with requires("export"):
        from derain.export.pipeline import export_bundle
    with signals_unwind():
        result = export_bundle(model, options)
    click.echo(
        json.dumps(_as_json(result), indent=2) if as_json else "\n".join(_table(result))
    )


def _check_int8(context: click.Context, precision: Precision) -> None:
    """Raise a usage error where an option of INT8 would have no effect."""
    on_frames = ("calibrate_on", *NAMES)
    if precision != "int8":
        if idle := given(context, ("calibration", *on_frames)):
            raise click.UsageError(f"for --int8 alone: {', '.join(idle)}")
    elif given(context, ["calibration"]) and (idle := given(context, on_frames)):
        raise click.UsageError(
            "--calibration names a file that holds ranges and layers already; for "
            f"--calibrate-on alone: {', '.join(idle)}"
        )


def _as_json(result: ExportResult) -> dict[str, Any]:
    return {
        "bundle": str(result.bundle.folder),
        "model_bytes": result.model_bytes,
        "nodes": result.nodes,
        "seconds": result.seconds,
        "manifest": result.bundle.manifest.to_json(),
    }


def _int8_rows(int8: dict[str, Any]) -> list[tuple[str, str]]:
    layers = int8["layers"]
    text = f"{layers['int8']} of {sum(layers.values())} convolutions, "
    text += f"{int8['share_int8']:.1%} of their multiplications"
    rows = [("in INT8", text)]
    if "psnr_db" in int8:
        lost = int8["drop_db"]
        text = f"{int8['psnr_db']:.1f} dB on held-out frames, ranges by "
        text += int8["method"]
        if lost is not None:
            text += f"; loses {lost:.3f} dB against the truth"
        rows.append(("INT8 against FP32", text))
    return rows


def _table(result: ExportResult) -> list[str]:
    manifest = result.bundle.manifest
    rows = [
        ("bundle", str(result.bundle.folder)),
        ("network", f"{manifest.model}, weights: {manifest.weights['source']}"),
        ("frames", f"{manifest.sizes}, uint8 BGR in and out{_others(manifest.sizes)}"),
        ("precision", manifest.precision),
        ("target", manifest.target),
        ("model.onnx", f"{result.model_bytes / 1e6:.2f} MB, {result.nodes} nodes"),
    ]
    if manifest.states:
        late = f", {manifest.look_ahead} frames late" if manifest.look_ahead else ""
        states = "state" if len(manifest.states) == 1 else "states"
        rows.append(("memory", f"{len(manifest.states)} {states}{late}"))
    if manifest.batch > 1:
        text = f"{manifest.batch} frames of as many cameras, model-batch.onnx"
        rows.append(("batch", text))
    rows += [(f"operator {name}", what) for name, what in manifest.operators.items()]
    if int8 := manifest.verification.get("int8"):
        rows += _int8_rows(int8)
    if manifest.precision == "fp16":
        kept = manifest.fp32_nodes
        text = f"{len(kept)} nodes, listed in the manifest" if kept else "none"
        rows.append(("kept in FP32", text))
    parser = manifest.verification.get("parser")
    if parser:
        text = f"{parser['backend']} {parser['version']} takes every node"
        rows.append(("TensorRT's parser", text))
    for name, figures in manifest.verification.items():
        if name == "drift":
            text = f"{figures['first_psnr_db']:.1f} dB at first and "
            text += f"{figures['last_psnr_db']:.1f} dB at last of {figures['frames']} "
            rows.append(("drift from PyTorch", f"{text}frames of {figures['size']}"))
        if name in ("parser", "int8", "drift"):
            continue
        rows.append(
            (
                f"against PyTorch, {name}",
                f"{figures['psnr_db']:.1f} dB, {figures['identical']:.3%} of pixels "
                f"identical, largest difference {figures['max_levels']} and mean "
                f"{figures['mean_levels']:.5f} grey levels, {figures['frames']} frames",
            )
        )
    rows.append(("time", f"{sum(result.seconds.values()):.1f} s"))
    rows.append(
        ("next", f"derain-run {result.bundle.folder} --source RAINY --sink DERAINED")
    )
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _others(sizes: SizeRange) -> str:
    return "; others: derain-run --resize, or --size any" if sizes.is_static else ""


if __name__ == "__main__":
    main()
