"""What the gate measured, for people: a table, a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derain.calibration.record import Calibration
from derain.runtime.optional import load


def table(calibration: Calibration) -> list[str]:
    """The curve "layers in INT8 against decibels" and the layers that went back."""
    lines = ["layers  multiplications  against FP32  lost against the truth  flicker"]
    total = len(calibration.macs)
    for step in calibration.curve:
        drop = step["drop_db"]
        lost = "not known" if drop is None else f"{drop:.3f} dB"
        lines.append(
            f"{step['layers']:>3}/{total:<3} {step['share']:>15.1%}  "
            f"{step['psnr_db']:>9.2f} dB  {lost:<22}  {_flicker(step)}"
        )
    for name in calibration.float_layers:
        cost = calibration.costs.get(name)
        alone = "" if cost is None else f"alone {cost:.1f} dB from FP32"
        why = calibration.kept.get(name, alone)
        part = calibration.macs[name] / sum(calibration.macs.values())
        lines.append(f"in floating point: {name}, {part:.1%}, {why}")
    return lines


def _flicker(step: dict[str, Any]) -> str:
    """What a still scene in rain varies by over time."""
    if step["flicker_levels"] is None:
        return "not measured"
    before, after = step["flicker_levels"]
    return f"{after:.3f} levels, FP32 {before:.3f}"


def summary(calibration: Calibration) -> dict[str, Any]:
    """What a bundle's manifest says about its INT8 layers."""
    result = calibration.curve[-1] if calibration.curve else {}
    return {
        "method": calibration.method,
        "frames": calibration.frames,
        "layers_int8": len(calibration.int8),
        "layers_float": list(calibration.float_layers),
        "share_int8": round(calibration.share, 4),
        "tensors_equalised": len(calibration.factors),
        **{k: v for k, v in result.items() if k.endswith(("_db", "_levels"))},
        "created": calibration.created,
    }


def plot(calibration: Calibration, path: Path) -> None:
    """Draw the curve into `path`, a PNG file.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
    """
    figure_type = load("matplotlib.figure", "Figure", extra="bench")
    figure = figure_type(figsize=(6.0, 3.5), layout="constrained")
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
    figure.savefig(path, dpi=120)
