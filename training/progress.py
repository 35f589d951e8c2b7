"""What a run says of itself while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def means_of(taken: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The mean of each term of a loss over the steps that have it."""
    names = dict.fromkeys(name for terms in taken for name in terms)
    return {
        name: float(torch.stack([x[name] for x in taken if name in x]).mean())
        for name in names
    }


def status(
    progress: float, step: int, skipped: int, seconds: float, means: Mapping[str, float]
) -> str:
    """One line.

    Args:
        progress: Part of the run that is done, 0 to 1.
        step: Steps done.
        skipped: Of them those that overflowed and were left out.
        seconds: Of training.
        means: Terms of the loss.
    """
    left = seconds * (1.0 - progress) / max(progress, 1e-9)
    terms = " ".join(f"{name} {value:.5f}" for name, value in means.items())
    bar = "#" * round(20 * min(progress, 1.0))
    out = f" ({skipped} overflowed and left out)" if skipped else ""
    return (
        f"[{bar:.<20}] {progress:.0%}, step {step}{out}, "
        f"{left / 60:.0f} min left: {terms}"
    )
