"""The log of a run, drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from derain.training.run_folder import write_file


def draw_curves(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss, PSNR and learning rate over the steps of a run.

    Args:
        entries: The log, as `derain.training.run_folder.read_log` returns it.
        path: Where to write the picture.

    Raises:
        MediaError: It cannot be written.
    """
    losses = [entry for entry in entries if entry.get("loss")]
    scores = [entry for entry in entries if "psnr_db" in entry]
    figure = Figure(figsize=(7, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    top.plot(
        [entry["step"] for entry in losses],
        [sum(entry["loss"].values()) for entry in losses],
    )
    top.set_ylabel("training loss")
    middle.plot(
        [entry["step"] for entry in scores],
        [entry["psnr_db"] for entry in scores],
        marker="o",
    )
    middle.set_ylabel("validation PSNR on Y, dB")
    bottom.plot(
        [entry["step"] for entry in losses],
        [entry["learning_rate"] for entry in losses],
    )
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_file(path, content.getbuffer())
