"""The training loop, which can be killed and resumed at any moment."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from derain.core.errors import CheckpointError, MediaError, TrainingError
from derain.core.pairs import Picture
from derain.core.pictures import write_picture
from derain.models.checkpoint import load_checkpoint
from derain.models.registry import NetworkFacts
from derain.models.video_network import has_states
from derain.training.average import follow
from derain.training.config import TrainingConfig
from derain.training.curves import draw_curves
from derain.training.losses import Objective, objective_for, warm_up_objective
from derain.training.progress import means_of, status
from derain.training.quantisation import LoopQuantisation
from derain.training.recurrent import ClipObjective
from derain.training.run_folder import (
    CONFIG,
    CURVES,
    SAMPLE,
    STATE,
    append_to_log,
    begin,
    claim,
    cut_log,
    new_network,
    read_config,
    read_log,
    read_state,
    write_state,
)
from derain.training.validation import Validation

LOG_EVERY = 50  # steps

_log = logging.getLogger(__name__)


class BatchSource(Protocol):
    """Where batches come from: each a function of its number, and of nothing else."""

    def batch(self, step: int) -> tuple[Picture, Picture]:
        """Rainy and clean pictures, `(N, H, W, 3)` or `(N, frames, H, W, 3)`."""


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """A linear warm-up, then half a cosine.

    Args:
        config: The settings.
        step: Steps done.
        progress: Part of the run done, 0 to 1.
    """
    fall = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    peak, last = config.learning_rate, config.last_learning_rate
    warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
    return warm * (last + (peak - last) * fall)


class Trainer:
    """One run, from its start or from its last checkpoint to its end.

    Attributes:
        config: The settings.
        folder: Of the run.
        model: The network.
        average: Moving average of its weights, which is what is kept.
        step: Steps done.
        first_step: Steps that were done when this was made.
        skipped: Steps that overflowed and were left out.
        seconds: Of training, over all times the run was taken up.
    """

    def __init__(
        self,
        config: TrainingConfig,
        crops: BatchSource,
        validation: Validation | None,
        folder: Path,
        objective: Objective | None = None,
        weights: Path | None = None,
    ) -> None:
        """Start the run in `folder`, or take it up where it was.

        Args:
            config: The settings.
            crops: Where the batches come from.
            validation: Measures on pictures that are not among the crops; or None.
            folder: Made if it does not exist.
            objective: The loss; None takes that of the network's paper, and for a
                network with a memory `ClipObjective`.
            weights: Checkpoint to start with in place of new weights.

        Raises:
            CheckpointError: The folder holds a run with other settings, or files of
                something else; or `weights` do not fit.
            MediaError: The folder cannot be written.
        """
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self._crops, self._validation = crops, validation
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layout = (
            torch.channels_last if config.channels_last else torch.contiguous_format
        )
        self.model, self._facts = self._new_network()
        self.average = self._new_network()[0].eval()
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.Adam(self.model.parameters(), config.learning_rate)
        if has_states(self.model):
            self._objective = objective or ClipObjective(self._facts)
            losses = (self._objective, self._objective)
        else:
            self._objective = objective or objective_for(config.model)
            losses = (warm_up_objective, self._objective)
        self._losses: list[Objective] = [
            torch.compile(loss) if config.compile else loss for loss in losses
        ]
        self._quantisation = LoopQuantisation(wanted=config.qat)
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self._saved_step = self._overflows = 0
        claim(folder)
        if (folder / STATE).exists():
            self._resume()
        else:
            if weights is not None:  # before anything is written
                self._start_from(weights)
            begin(folder, config)
        self.first_step = self.step

    def _new_network(self) -> tuple[nn.Module, NetworkFacts]:
        network, facts = new_network(self.config.model)
        network.to(self.device)
        network.to(memory_format=self._layout)  # type: ignore[call-overload]
        return network, facts

    def _start_from(self, weights: Path) -> None:
        load_checkpoint(self.model, weights)
        self.average.load_state_dict(self.model.state_dict())

    @property
    def progress(self) -> float:
        """Part of the run that is done; 1 is all."""
        return self.config.progress(self.step, self.seconds)

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end, or until `stop` says so, which is asked before every step.

        The run is saved in either case.

        Raises:
            MediaError: The folder cannot be written; its last checkpoint is kept.
            TrainingError: The weights or the loss are not finite any more; the last
                checkpoint from before is kept.
        """
        try:
            self._run(stop)
        except (MediaError, TrainingError) as error:
            raise type(error)(
                f"{error}; the run is kept as it was at step {self._saved_step}"
            ) from error

    def _run(self, stop: Callable[[], bool]) -> None:
        self._quantisation.prepare(
            self.model, self._facts, lambda k: self._tensor(self._crops.batch(k)[0])
        )
        saved = validated = self.seconds
        clock = time.monotonic() - self.seconds
        taken: list[dict[str, Tensor]] = []
        while self.progress < 1.0:
            if stop():
                self.save()
                return
            rate = learning_rate(self.config, self.step, self.progress)
            if terms := self._train_step(rate):
                taken.append(terms)
            self.seconds = time.monotonic() - clock
            if self.step % LOG_EVERY == 0:
                self._require_finite()
                means = means_of(taken)
                entry = {"learning_rate": rate, "loss": means, "skipped": self.skipped}
                self._add_to_log(entry)
                taken.clear()
                _log.info(
                    "%s",
                    status(self.progress, self.step, self.skipped, self.seconds, means),
                )
                if self.seconds - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = self.seconds
                if self.seconds - validated > 60 * self.config.validate_minutes:
                    self.validate()
                    self.seconds = time.monotonic() - clock
                    validated = self.seconds
        self._require_finite()
        self._quantisation.finish(self.average, self.folder)
        self.validate()
        self.seconds = time.monotonic() - clock
        self.save()

    def _train_step(self, rate: float) -> dict[str, Tensor]:
        """The terms of the loss; none where the step overflowed and was left out."""
        rainy, clean = (self._tensor(x) for x in self._crops.batch(self.step))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16),
            self._quantisation.of(self.model),
        ):
            terms = self._loss()(self.model, rainy, clean)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        # Where a loss is infinite, its gradient may be 0.
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss.detach()))
        if finite:
            self.optimiser.step()
            self._overflows = 0
        else:
            self.skipped += 1
            self._overflows += 1
        self.step += 1
        # From 0.1, so that the first weights do not stay in the average for long.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        follow(self.average, self.model, decay)
        if not finite:
            return {}
        return {name: term.detach() for name, term in terms.items()}

    def _loss(self) -> Objective:
        return self._losses[self.step >= self.config.warm_up_loss_steps]

    @torch.no_grad()
    def _require_finite(self) -> None:
        """See that what would be saved is worth it.

        A step may overflow in bfloat16 and is left out; one after another means that
        there is no way back, and so does a loss that is not finite in float32 either.

        Raises:
            TrainingError: The weights or the loss are not finite.
        """
        finite = all(
            bool(torch.isfinite(x).all())
            for network in (self.model, self.average)
            for x in network.state_dict().values()
        )
        if finite and self._overflows:
            rainy, clean = (self._tensor(x) for x in self._crops.batch(self.step))
            self.model.eval()  # statistics of batches are for training steps
            terms = self._objective(self.model, rainy, clean).values()
            self.model.train()
            loss = torch.stack([term.float() for term in terms]).sum()
            finite = bool(torch.isfinite(loss)) and self._overflows < LOG_EVERY
        if not finite:
            raise TrainingError(
                f"training diverged: at step {self.step} the loss or the weights are "
                "not finite; start again in another --output with a smaller "
                "--learning-rate"
            )

    def _tensor(self, pictures: Picture) -> Tensor:
        """`(N, H, W, 3)` uint8 BGR -> `(N, 3, H, W)` float32 in the network's order.

        Of clips, `(N, frames, H, W, 3)` -> `(N, frames, 3, H, W)`.
        """
        if self._facts.colour == "rgb":
            pictures = pictures[..., ::-1]
        count = pictures.shape[:-3]
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        x = torch.from_numpy(np.ascontiguousarray(flat)).permute(0, 3, 1, 2)
        x = x.to(self.device, memory_format=self._layout, non_blocking=True)
        return (x.float() / 255.0).view(*count, *x.shape[1:])

    def validate(self) -> None:
        """Measure the average on the validation pictures; log it, draw a sample."""
        if self._validation is None:
            return
        with self._quantisation.of(self.average):
            figures, sample = self._validation(self.average, self._facts)
        self._add_to_log(figures)
        _log.info("validation: %.3f dB, SSIM %.4f", figures["psnr_db"], figures["ssim"])
        write_picture(self.folder / SAMPLE, sample)
        draw_curves(read_log(self.folder), self.folder / CURVES)

    def save(self) -> None:
        """Write the checkpoint, all of it or nothing.

        Raises:
            MediaError: It cannot be written.
            TrainingError: It would not be worth it; what was saved before is kept.
        """
        self._require_finite()
        state = {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            **self._quantisation.state(),
        }
        write_state(self.folder, state)
        self._saved_step = self.step

    def _resume(self) -> None:
        stored = read_config(self.folder)
        if replace(stored, threads=self.config.threads) != self.config:
            raise CheckpointError(
                f"{self.folder} holds a run with other settings; "
                f"resume with those in {self.folder / CONFIG}, or choose another folder"
            )
        state = read_state(self.folder)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self._quantisation.resume(state)
        self.step, self.seconds = state["step"], state["seconds"]
        self.skipped = state.get("skipped", 0)  # not in older runs
        self._saved_step = self.step
        cut_log(self.folder, self.step)
        _log.info("resumed at step %d", self.step)

    def _add_to_log(self, entry: dict[str, Any]) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1), **entry}
        append_to_log(self.folder, line)
