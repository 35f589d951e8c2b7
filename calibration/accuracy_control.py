"""Accuracy control: as many layers in INT8 as the picture allows, or none at all.

All layers that may be INT8 are, at first, and residuals are added as layers read them.
If the picture on held-out frames is not good enough, residuals go back to floating
point; then the layers that look worst on their own are measured one by one in the whole
graph, and those that cost most per multiplication go back, too, until it is.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from derain.calibration.layers import Layer, residual_adds
from derain.calibration.qdq import insert_qdq
from derain.calibration.scoring import Accuracy, Scorer
from derain.calibration.sensitivity import Means, alone_errors, local_errors
from derain.core.errors import CalibrationError
from derain.core.metrics import mse_of_psnr

_log = logging.getLogger(__name__)

CANDIDATES = 16  # layers measured exactly at a time
SENSITIVITY_FRAMES = 2
# With less of its multiplications in INT8 a network gains next to nothing over FP16.
LEAST_SHARE = 0.25
# Flicker that no limit refuses: rounding alone moves a pixel by up to half a level, so
# the flicker of a network that leaves a still scene still cannot be a measure.
_FLICKER_LEVELS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLimits:
    """What an INT8 graph must reach.

    Attributes:
        max_drop_db: Most that it may lose against the truth, where that is known.
        min_psnr_db: Least PSNR against FP32.
        max_flicker: Most that a still scene in rain may flicker, 1 being FP32.
    """

    max_drop_db: float
    min_psnr_db: float
    max_flicker: float

    def most_flicker(self, before: float) -> float:
        """Most flicker, in grey levels, where that of FP32 is `before`."""
        return before * self.max_flicker + _FLICKER_LEVELS

    def surplus(self, accuracy: Accuracy, noise: float) -> float:
        """Squared error against FP32, in grey levels, that has to go at least.

        Flicker is of the rain that FP32 leaves and of INT8's noise: variances add up.

        Args:
            accuracy: Of a graph.
            noise: What its layers are known to cost, all together.
        """
        surplus = mse_of_psnr(accuracy.psnr_db) - mse_of_psnr(self.min_psnr_db)
        if accuracy.flicker is not None:
            before, after = accuracy.flicker
            most = self.most_flicker(before)
            if after > most:
                part = (after**2 - most**2) / (after**2 - before**2)
                surplus = max(surplus, part * noise)
        return surplus

    def reason(self, accuracy: Accuracy) -> str:
        """Why `accuracy` does not pass, or an empty text."""
        if not accuracy.psnr_db >= self.min_psnr_db:
            return (
                f"INT8 is {accuracy.psnr_db:.1f} dB from FP32, wanted "
                f"{self.min_psnr_db:.1f} dB (--min-psnr-db)"
            )
        drop = accuracy.drop_db
        if drop is not None and not drop <= self.max_drop_db:
            return (
                f"INT8 loses {drop:.3f} dB against the truth, wanted at most "
                f"{self.max_drop_db:.2f} dB (--max-drop-db)"
            )
        if accuracy.flicker is not None:
            before, after = accuracy.flicker
            if not after <= self.most_flicker(before):
                return (
                    f"INT8 flickers: a still scene in rain varies by {after:.2f} grey "
                    f"levels over time, in FP32 by {before:.2f}, wanted at most "
                    f"{self.max_flicker:.2f} times that (--max-flicker)"
                )
        return ""


@dataclass(frozen=True, slots=True)
class CurveStep:
    """A point of the curve "layers in INT8 against decibels".

    Attributes:
        layers: Layers in INT8.
        residuals: Tensors that are added as they are quantised.
        share: Part of the multiplications in INT8, in [0, 1].
        accuracy: What came out.
    """

    layers: int
    residuals: int
    share: float
    accuracy: Accuracy

    def to_json(self) -> dict[str, Any]:
        """The step as a JSON object."""
        return {
            "layers": self.layers,
            "residuals": self.residuals,
            "share": round(self.share, 4),
            **self.accuracy.to_json(),
        }


@dataclass(slots=True)
class AccuracyResult:
    """What accuracy control decided.

    Attributes:
        int8: Names of the layers in INT8.
        residuals: Names of the tensors that are added as they are quantised.
        refusal: Why no set of layers passes; empty if `int8` does.
        curve: Every graph that was measured, the last one having `int8` in INT8.
        costs: Squared error of the picture with that layer alone in INT8, where
            measured; see `alone_errors`.
    """

    int8: frozenset[str]
    residuals: frozenset[str] = frozenset()
    refusal: str = ""
    curve: list[CurveStep] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)


class AccuracyControl:
    """Decides which layers of a float graph run in INT8.

    Args:
        model: The float graph; ``derain`` nodes have bodies.
        layers: Of `find_layers`.
        macs: Multiplications of each layer.
        ranges: How far INT8 reaches for each tensor.
        means: Channel means, for biases; None leaves them alone.
        scorer: Compares graphs.
        limits: What is good enough.
    """

    def __init__(
        self,
        model: ir.Model,
        layers: Sequence[Layer],
        macs: Mapping[str, int],
        *,
        ranges: Mapping[str, float],
        means: Means | None,
        scorer: Scorer,
        limits: AccuracyLimits,
    ) -> None:
        self._model = model
        self._layers = tuple(layers)
        self._macs = macs
        self._ranges = ranges
        self._means = means
        self._scorer = scorer
        self._limits = limits
        self._total = sum(macs.values())

    def run(self) -> AccuracyResult:
        """The largest set of layers found that passes, or why there is none.

        Raises:
            CalibrationError: Too few layers may be in INT8.
        """
        start = self._candidates()
        result = AccuracyResult(start, frozenset(residual_adds(self._model)))
        reason = self._try(result, start)
        if reason and result.residuals:
            result.residuals = frozenset()
            reason = self._try(result, start)
        while reason and not result.refusal:
            worst = self._worst(result)
            if worst:
                reason = self._give_back(result, worst, reason)
            else:
                self._refuse(result, reason)
        return result

    def int8(self, layers: Collection[str], residuals: Collection[str]) -> ir.Model:
        """A copy of the graph with `layers` in INT8, and `residuals` added so."""
        model = self._model.clone()
        insert_qdq(model, self._ranges, layers, self._means, residuals)
        return model

    def share(self, layers: Collection[str]) -> float:
        """Part of the graph's multiplications in `layers`."""
        return sum(self._macs[name] for name in layers) / self._total

    def _candidates(self) -> frozenset[str]:
        """Every layer that may be INT8.

        Raises:
            CalibrationError: They are too few.
        """
        found = frozenset(x.name for x in self._layers if not x.stays)
        share = self.share(found)
        if share < LEAST_SHARE:
            reasons = " or ".join(sorted({x.stays for x in self._layers if x.stays}))
            raise CalibrationError(
                f"only {share:.0%} of the multiplications can be INT8 (every other "
                f"convolution {reasons}), and less than {LEAST_SHARE:.0%} is not worth "
                "it: use --fp16"
            )
        return found

    def _try(self, result: AccuracyResult, layers: frozenset[str]) -> str:
        """Measure `layers` in INT8; why they do not pass, or an empty text."""
        graph = self.int8(layers, result.residuals)
        accuracy = self._scorer.score(graph)
        if not self._limits.reason(accuracy):
            accuracy = replace(accuracy, flicker=self._scorer.flicker(graph))
        residuals = len(result.residuals)
        step = CurveStep(len(layers), residuals, self.share(layers), accuracy)
        result.int8 = layers
        result.curve.append(step)
        drop = "" if accuracy.drop_db is None else f", loses {accuracy.drop_db:.3f} dB"
        unrest = ""
        if accuracy.flicker is not None:
            unrest = ", flickers by {1:.2f} levels, FP32 by {0:.2f}".format(
                *accuracy.flicker
            )
        _log.info(
            f"{step.layers} of {len(self._layers)} layers in INT8 ({step.share:.1%} of "
            f"the multiplications) and {residuals} residuals: {accuracy.psnr_db:.2f} "
            f"dB from FP32{drop}{unrest}"
        )
        return self._limits.reason(accuracy)

    def _worst(self, result: AccuracyResult) -> list[str]:
        """The INT8 layers that cost most per multiplication, the worst first."""
        shots = self._scorer.first(SENSITIVITY_FRAMES)
        rest = [x for x in self._layers if x.name in result.int8]
        unknown = [x for x in rest if x.name not in result.costs]
        if unknown:
            local = local_errors(self._model, unknown, self._ranges, self._means, shots)
            unknown.sort(key=lambda x: local[x.name], reverse=True)
            names = [x.name for x in unknown[:CANDIDATES]]
            _log.info(f"measuring {len(names)} layers one by one")
            result.costs |= alone_errors(
                self._model, names, self._ranges, self._means, shots
            )
        known = [x.name for x in rest if x.name in result.costs]
        known.sort(key=lambda n: result.costs[n] / self._macs[n], reverse=True)
        return known

    def _give_back(self, result: AccuracyResult, worst: list[str], reason: str) -> str:
        """Put layers of `worst` back to float until the graph passes or none is left.

        Or until too few are in INT8: the result is a refusal then.

        What they cost adds up, so the first try takes as many as should do; it then
        goes on by one, two, ... at a time.
        """
        layers = result.int8
        noise = sum(result.costs[name] for name in worst)
        surplus = self._limits.surplus(result.curve[-1].accuracy, noise)
        count = 1
        while (
            sum(result.costs[name] for name in worst[:count]) < surplus
            and self.share(layers - frozenset(worst[: count + 1])) >= LEAST_SHARE
            and count < len(worst)
        ):
            count += 1
        done = 0
        while reason and done < len(worst):
            taken = worst[done : done + count]
            layers -= frozenset(taken)
            done += len(taken)
            if not layers or self.share(layers) < LEAST_SHARE:
                self._refuse(result, reason)
                break
            reason = self._try(result, layers)
            count = max(1, done // 4)
        return reason

    def _refuse(self, result: AccuracyResult, reason: str) -> None:
        step = result.curve[-1]
        result.refusal = (
            f"{reason}; that is with {step.share:.0%} of the multiplications in INT8, "
            f"and less than {LEAST_SHARE:.0%} is not worth it: use --fp16"
        )
