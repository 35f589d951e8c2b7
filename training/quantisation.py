"""Quantisation in a run's loop: planned at its start, off in any other run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from derain.models.registry import NetworkFacts
from derain.training.quantised_forward import (
    FakeQuantisation,
    QuantisationPlan,
    onto_grid,
)
from derain.training.quantised_layers import plan_of
from derain.training.run_folder import WEIGHTS, write_file

BATCHES = 8  # of the run's own, that ranges are taken from; they stay then


class LoopQuantisation:
    """What ``--qat`` does in a run.

    Args:
        wanted: Whether it does anything.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._plan: QuantisationPlan | None = None

    def prepare(
        self, model: nn.Module, facts: NetworkFacts, rainy: Callable[[int], Tensor]
    ) -> None:
        """Plan, unless the run has a plan.

        Args:
            model: With the weights that the run starts from.
            facts: How to feed it.
            rainy: The rainy half of a batch, by its number.

        Raises:
            TrainingError: The network cannot be quantised so.
        """
        if self._wanted and self._plan is None:
            self._plan = plan_of(model, facts, map(rainy, range(BATCHES)))

    def of(self, network: nn.Module) -> contextlib.AbstractContextManager[object]:
        """A context in which `network` computes as in INT8."""
        if self._plan is None:
            return contextlib.nullcontext()
        return FakeQuantisation(network, self._plan)

    def finish(self, average: nn.Module, folder: Path) -> None:
        """Round the weights to what INT8 holds, and write them as a checkpoint, too.

        Raises:
            MediaError: It cannot be written.
        """
        if self._plan is None:
            return
        onto_grid(average, self._plan)
        tensors = {k: x.cpu().contiguous() for k, x in average.state_dict().items()}
        write_file(folder / WEIGHTS, save(tensors))

    def state(self) -> dict[str, Any]:
        """What `resume` takes, for the run's checkpoint."""
        return {} if self._plan is None else {"quantised": self._plan.to_json()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on with the plan of a run's checkpoint."""
        if "quantised" in state:
            self._plan = QuantisationPlan.from_json(state["quantised"])
