"""The training loop, which can be killed and resumed at any moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from derain.core.errors import CheckpointError, MediaError
from derain.core.pictures import write_picture
from derain.models.checkpoint import load_checkpoint
from derain.models.registry import MODELS, create_model
from derain.training.config import TrainingConfig
from derain.training.curves import draw_curves
from derain.training.data import CropSource, Pair, Picture
from derain.training.losses import OBJECTIVES, Objective
from derain.training.run_folder import (
    CONFIG,
    CURVES,
    SAMPLE,
    STATE,
    append_to_log,
    begin,
    cut_log,
    make_folder,
    read_config,
    read_log,
    read_state,
    write_state,
)
from derain.training.validation import derain_with, mean_score, score_pairs

LOG_EVERY = 50  # steps


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
    """One run, from its start or from its last checkpoint to its end."""

    def __init__(
        self,
        config: TrainingConfig,
        crops: CropSource,
        validation: Sequence[Pair],
        folder: Path,
        report: Callable[[str], None] = lambda line: None,
        objective: Objective | None = None,
    ) -> None:
        """Start the run in `folder`, or take it up where it was.

        Args:
            config: The settings.
            crops: Where the batches come from.
            validation: Pictures to measure on, none of them among the crops.
            folder: Made if it does not exist.
            report: Called with a line of text now and then.
            objective: The loss; None takes that of the network's paper.

        Raises:
            CheckpointError: The folder holds a run with other settings.
            MediaError: The folder cannot be written.
        """
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self._crops, self._validation, self._report = crops, validation, report
        self._facts = MODELS[config.model].facts
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._layout = (
            torch.channels_last if config.channels_last else torch.contiguous_format
        )
        self.model = self._new_network().train()
        self.average = self._new_network().eval()
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.Adam(self.model.parameters(), config.learning_rate)
        loss = objective or OBJECTIVES[config.model]
        self._loss: Objective = torch.compile(loss) if config.compile else loss
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self._saved_step = 0
        make_folder(folder)
        if (folder / STATE).exists():
            self._resume()
        else:
            begin(folder, config)

    def _new_network(self) -> nn.Module:
        network: nn.Module = create_model(self.config.model).to(self.device)
        network.to(memory_format=self._layout)  # type: ignore[call-overload]
        return network

    def start_from(self, weights: Path) -> None:
        """Take the weights in the checkpoint `weights` in place of new ones.

        Raises:
            CheckpointError: They do not fit.
        """
        load_checkpoint(self.model, weights)
        self.average.load_state_dict(self.model.state_dict())

    def run(self) -> nn.Module:
        """Train to the end; returns the moving average of the network.

        Raises:
            MediaError: The folder cannot be written; its last checkpoint is kept.
        """
        try:
            return self._run()
        except MediaError as error:
            raise MediaError(
                f"{error}; the run is kept as it was at step {self._saved_step}"
            ) from error

    def _run(self) -> nn.Module:
        saved = validated = self.seconds
        clock = time.monotonic() - self.seconds
        sums: dict[str, Tensor] = {}
        taken = 0
        while (progress := self._progress()) < 1.0:
            rate = learning_rate(self.config, self.step, progress)
            terms = self._train_step(rate)
            if terms:
                sums = {k: sums[k] + v if sums else v for k, v in terms.items()}
                taken += 1
            self.seconds = time.monotonic() - clock
            if self.step % LOG_EVERY == 0:
                means = {k: float(v) / taken for k, v in sums.items()}
                entry = {"learning_rate": rate, "loss": means, "skipped": self.skipped}
                self._log(entry)
                sums, taken = {}, 0
                self._report(self._status(means))
                if self.seconds - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = self.seconds
                if self.seconds - validated > 60 * self.config.validate_minutes:
                    self.validate()
                    self.seconds = time.monotonic() - clock
                    validated = self.seconds
        self.validate()
        self.seconds = time.monotonic() - clock
        self.save()
        return self.average

    def _progress(self) -> float:
        if self.config.steps is not None:
            return self.step / self.config.steps
        assert self.config.hours is not None
        return self.seconds / (3600 * self.config.hours)

    def _train_step(self, rate: float) -> dict[str, Tensor]:
        """The terms of the loss; none where the step overflowed and was left out."""
        rainy, clean = (self._tensor(x) for x in self._crops.batch(self.step))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            terms = self._loss(self.model, rainy, clean)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        finite = bool(torch.isfinite(norm))
        if finite:
            self.optimiser.step()
        else:
            self.skipped += 1
        self.step += 1
        self._follow()
        if not finite:
            return {}
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a little towards the network."""
        # From 0.1, so that the first weights do not stay in the average for long.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        theirs = self.model.state_dict()
        ours = self.average.state_dict()
        floats = [name for name, x in ours.items() if x.is_floating_point()]
        torch._foreach_lerp_(
            [ours[name] for name in floats],
            [theirs[name] for name in floats],
            1.0 - decay,
        )
        for name in ours.keys() - set(floats):
            ours[name].copy_(theirs[name])

    def _tensor(self, pictures: Picture) -> Tensor:
        """`(N, H, W, 3)` uint8 BGR -> `(N, 3, H, W)` float32 in the network's order."""
        if self._facts.colour == "rgb":
            pictures = pictures[..., ::-1]
        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
        x = x.to(self.device, memory_format=self._layout, non_blocking=True)
        return x.float() / 255.0

    def validate(self) -> None:
        """Measure the average on the validation pictures; log it, draw a sample."""
        if not self._validation:
            return
        network = derain_with(self.average, self._facts)
        results = score_pairs(network, self._validation, keep=4)
        mean = mean_score([result.score for result in results])
        self._log({"psnr_db": mean.psnr_db, "ssim": mean.ssim})
        self._report(f"validation: {mean.psnr_db:.3f} dB, SSIM {mean.ssim:.4f}")
        rows = [
            np.hstack([pair.rainy, result.image, pair.clean])
            for pair, result in zip(self._validation, results, strict=True)
            if result.image is not None
        ]
        width = min(row.shape[1] for row in rows)
        sample = np.vstack([row[:, :width] for row in rows])
        write_picture(self.folder / SAMPLE, sample)
        draw_curves(read_log(self.folder), self.folder / CURVES)

    def save(self) -> None:
        """Write the checkpoint, all of it or nothing.

        Raises:
            MediaError: It cannot be written.
        """
        state = {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
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
        self.step, self.seconds = state["step"], state["seconds"]
        self.skipped = state.get("skipped", 0)  # not in older runs
        self._saved_step = self.step
        cut_log(self.folder, self.step)
        self._report(f"resumed at step {self.step}")

    def _log(self, entry: dict[str, Any]) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1), **entry}
        append_to_log(self.folder, line)

    def _status(self, means: dict[str, float]) -> str:
        progress = self._progress()
        left = self.seconds * (1.0 - progress) / max(progress, 1e-9)
        terms = " ".join(f"{name} {value:.5f}" for name, value in means.items())
        bar = "#" * round(20 * min(progress, 1.0))
        skipped = f" ({self.skipped} overflowed and left out)" if self.skipped else ""
        return (
            f"[{bar:.<20}] {progress:.0%}, step {self.step}{skipped}, "
            f"{left / 60:.0f} min left: {terms}"
        )
