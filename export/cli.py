"""``derain-export``: a network in, a proven bundle out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from derain.calibration.options import NAMES, given, int8_options
from derain.core.commands import SIZE, Command, Parsed
from derain.core.interrupts import signals_unwind
from derain.core.lazy import load
from derain.core.manifest import Precision, Target
from derain.core.sizes import Size, SizeRange
from derain.models.allocator import use_huge_pages
from derain.models.registry import MODELS, NetworkFacts

if TYPE_CHECKING:
    from derain.calibration.options import CalibrationOptions
    from derain.export.pipeline import ExportResult

DEFAULT_SIZE = Size(1280, 720)

_EPILOG = f"""\b
Networks:
  {"  ".join(MODELS)}
  package.module:Class   one of your own: any nn.Module from (N, 3, H, W) in [0, 1]

\b
Examples:
  derain-export --model qsnet --fp16
  derain-export --model nledn --weights nledn.pth --size 640x480
  derain-export --model mynets.derainer:Net --weights best.pth --bgr --rain
  derain-export --model qsnet --int8 --calibrate-on rainy.mp4
"""


def _parse_range(text: str) -> SizeRange:
    sizes = SizeRange.parse(text)
    if sizes.is_static:
        raise ValueError(f"{text!r} is one size; use --size for that")
    return sizes


@click.command(cls=Command, epilog=_EPILOG)
@click.option("--model", required=True, help="A network, see below.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint: safetensors or a PyTorch file. Default: the weights that ship.",
)
@click.option(
    "--random-weights", is_flag=True, help="Untrained weights, for benchmarks."
)
@click.option("--size", type=SIZE, help=f"Size of the frames. Default: {DEFAULT_SIZE}.")
@click.option(
    "--dynamic",
    type=Parsed("MIN,OPT,MAX", _parse_range),
    help="Accept a range of sizes, such as 320x240,1280x720,1920x1088.",
)
@click.option(
    "--fp32",
    "precision",
    flag_value="fp32",
    default=True,
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
@click.option(
    "--calibrate-on",
    metavar="SOURCE",
    help="INT8: video, folder or live source of the camera that it is for, in rain "
    "(see --dry).",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="INT8: file of derain-calibrate, in place of --calibrate-on and of every "
    "option of calibration.",
)
@int8_options
@click.option(
    "--target",
    type=click.Choice(["any", "onnxruntime", "tensorrt"]),
    default="any",
    show_default=True,
    help="Write the graph for one compiler; 'any' runs everywhere.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Bundle to make.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option(
    "--opset",
    type=click.IntRange(18, 23),
    default=20,
    show_default=True,
    help="ONNX opset; TensorRT 10.3 takes up to 20.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    metavar="DB",
    help="Least PSNR against PyTorch that passes. Default: FP32 99.9 % of pixels "
    "identical and none off by more than 1 level, FP16 50 dB.",
)
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    help="Picture or folder to verify on. Default: photographs with rendered rain.",
)
@click.option("--bgr", is_flag=True, help="Own network: it works on BGR.")
@click.option("--rain", is_flag=True, help="Own network: it returns the rain layer.")
@click.option(
    "--output-index", type=int, help="Own network: which of several outputs is meant."
)
@click.option(
    "--multiple-of",
    type=click.IntRange(min=1),
    help="Own network: height and width are padded to a multiple of this.",
)
@click.option(
    "--minimum",
    type=click.IntRange(min=1),
    help="Own network: smallest height and width it takes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    model: str,
    weights: Path | None,
    random_weights: bool,
    size: Size | None,
    dynamic: SizeRange | None,
    precision: Precision,
    calibrate_on: str | None,
    calibration: Path | None,
    settings: CalibrationOptions,
    target: Target,
    output: Path | None,
    force: bool,
    opset: int,
    tolerance: float | None,
    frames: Path | None,
    bgr: bool,
    rain: bool,
    output_index: int | None,
    multiple_of: int | None,
    minimum: int | None,
    as_json: bool,
) -> None:
    """Export a deraining network to ONNX and prove that nothing was lost.

    The result is a bundle: a folder with model.onnx (uint8 BGR frame in, derained frame
    out), a manifest and a golden frame. derain-run derains with it, without PyTorch.
    """
    if size is not None and dynamic is not None:
        raise click.UsageError("--size and --dynamic exclude each other")
    if weights is not None and random_weights:
        raise click.UsageError("--weights and --random-weights exclude each other")
    own = (bgr, rain, output_index, multiple_of, minimum)
    facts = None
    if ":" in model:
        facts = NetworkFacts(
            colour="bgr" if bgr else "rgb",
            returns_rain=rain,
            output_index=output_index or 0,
            multiple_of=multiple_of or 1,
            minimum=minimum or 1,
        )
    elif any(own):
        raise click.UsageError(
            "--bgr, --rain, --output-index, --multiple-of and --minimum are for a "
            "network of your own, --model package.module:Class"
        )
    _check_int8(ctx, precision)
    use_huge_pages()  # before torch is there
    int8 = None
    if precision == "int8":
        int8_request = load("derain.export.int8", "int8_request", extra="export")
        int8 = int8_request(calibrate_on, calibration, settings)
    export_bundle = load("derain.export.pipeline", "export_bundle", extra="export")
    request_type = load("derain.export.pipeline", "ExportRequest", extra="export")
    with signals_unwind():
        result: ExportResult = export_bundle(
            request_type(
                model=model,
                sizes=dynamic or SizeRange.static(size or DEFAULT_SIZE),
                precision=precision,
                target=target,
                weights=weights,
                random_weights=random_weights,
                facts=facts,
                opset=opset,
                min_psnr_db=tolerance,
                frames=frames,
                output=output,
                force=force,
                int8=int8,
            ),
        )
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
        "bundle": str(result.folder),
        "model_bytes": result.model_bytes,
        "nodes": result.nodes,
        "seconds": result.seconds,
        "manifest": result.manifest.to_json(),
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
    manifest = result.manifest
    rows = [
        ("bundle", str(result.folder)),
        ("network", f"{manifest.model}, weights: {manifest.weights['source']}"),
        ("frames", f"{manifest.sizes}, uint8 BGR in and out"),
        ("precision", manifest.precision),
        ("target", manifest.target),
        ("model.onnx", f"{result.model_bytes / 1e6:.2f} MB, {result.nodes} nodes"),
    ]
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
        if name in ("parser", "int8"):
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
    rows.append(("next", f"derain-run {result.folder} --source RAINY --sink DERAINED"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


if __name__ == "__main__":
    main()
