"""What accuracy control measured, for people: a table, a plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from derain.calibration.calibration_file import Calibration
from derain.calibration.files import write_file
from derain.core.lazy import requires
from derain.core.tables import text_table

TABLE_FILE, PLOT_FILE = "report.txt", "report.png"


def table(calibration: Calibration) -> list[str]:
    """The curve "layers in INT8 against decibels" and the layers that went back."""
    head = ["layers", "residuals", "multiplications", "against FP32"]
    rows = [[*head, "lost against the truth", "flicker"]]
    for step in calibration.curve:
        drop = step["drop_db"]
        rows.append(
            [
                f"{step['layers']}/{len(calibration.macs)}",
                str(step.get("residuals", 0)),
                f"{step['share']:.1%}",
                f"{step['psnr_db']:.2f} dB",
                "not known" if drop is None else f"{drop:.3f} dB",
                _flicker(step),
            ]
        )
    lines = text_table(rows, left=(5,))
    for name in calibration.float_layers:
        part = calibration.macs[name] / sum(calibration.macs.values())
        why = reason_in_float(calibration, name)
        lines.append(f"in floating point: {name}, {part:.1%}, {why}")
    return lines


def reason_in_float(calibration: Calibration, name: str) -> str:
    """Why the convolution `name` is not in INT8."""
    if name in calibration.kept:
        return calibration.kept[name]
    cost = calibration.costs.get(name)
    alone = "" if cost is None else f": alone {cost:.1f} dB from FP32"
    return f"given back by accuracy control{alone}"


def _flicker(step: dict[str, Any]) -> str:
    """What a still scene in rain varies by over time."""
    if step["flicker_levels"] is None:
        return "not measured"
    before, after = step["flicker_levels"]
    return f"{after:.3f} levels, FP32 {before:.3f}"


def summary(calibration: Calibration, *, rest_in_fp16: bool) -> dict[str, Any]:
    """What a bundle's manifest says about its INT8 layers.

    Args:
        calibration: That of the bundle, whose file names the layers in INT8.
        rest_in_fp16: Whether its other convolutions are FP16; they are FP32 otherwise.
    """
    result = calibration.curve[-1] if calibration.curve else {}
    others = calibration.float_layers
    halves = len(others) if rest_in_fp16 else 0
    return {
        "method": calibration.method,
        "frames": calibration.frames,
        "layers": {
            "int8": len(calibration.int8),
            "fp16": halves,
            "fp32": len(others) - halves,
        },
        "layers_float": {name: reason_in_float(calibration, name) for name in others},
        "share_int8": round(calibration.share, 4),
        "residuals_int8": len(calibration.residuals),
        "tensors_equalised": len(calibration.factors),
        **{k: v for k, v in result.items() if k.endswith(("_db", "_levels"))},
        "created": calibration.created,
    }


def require_matplotlib() -> None:
    """Raise now rather than when everything is measured.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    with requires("bench"):
        import matplotlib.figure  # noqa: F401


def write_report(calibration: Calibration, folder: Path, refusal: str = "") -> None:
    """Write `TABLE_FILE` and `PLOT_FILE`, each whole or not at all.

    Args:
        calibration: What was measured.
        folder: Where to.
        refusal: Why INT8 is refused, if it is.

    Raises:
        CalibrationError: They cannot be written.
        MissingDependencyError: Matplotlib is not installed.
    """
    lines = table(calibration)
    if refusal:
        lines.append(f"refused: {refusal}")
    write_file(folder / TABLE_FILE, ("\n".join(lines) + "\n").encode())
    write_file(folder / PLOT_FILE, plot(calibration))


def plot(calibration: Calibration) -> bytes:
    """The curve as the content of a PNG file.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    with requires("bench"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(6.0, 3.5), layout="constrained")
    axes = figure.subplots()
    layers = [step["layers"] for step in calibration.curve]
    axes.plot(layers, [step["psnr_db"] for step in calibration.curve], "o-")
    axes.set_xlim(0, len(calibration.macs) * 1.04)
    axes.set_xlabel(f"layers in INT8, of {len(calibration.macs)}")
    axes.set_ylabel("PSNR against FP32, dB")
    axes.grid(visible=True)
    drops = [step["drop_db"] for step in calibration.curve]
    if None not in drops:
        right = axes.twinx()
        right.plot(layers, drops, "s--", color="tab:red")
        right.set_ylabel("lost against the truth, dB", color="tab:red")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()
