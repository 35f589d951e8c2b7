"""How good an INT8 graph is: held-out frames, the float graph's pictures, the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from derain.calibration.session import Frame, GraphSession, Shot
from derain.core.errors import CalibrationError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.metrics import CEILING_DB, psnr_of_mse
from derain.core.synthetic.rain import LINES, PRESETS, rain_on_clip

_FLICKER_FRAMES = 4
_WARM_FRAMES = 4  # before them, for a memory to fill


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A frame that no range was taken from.

    Attributes:
        rainy: `(H, W, 3)` uint8 BGR, of the graph's size.
        clean: What is wanted of it, where that is known: the same without rain, or
            what a network with look-ahead owes by then.
        height: Rows that count; what is below was added to fill the frame.
        width: Columns that count.
        start: As in `Shot`.
        judged: Whether the picture counts; a memory fills with those that do not.
    """

    rainy: Frame
    clean: Frame | None
    height: int
    width: int
    start: GraphMemory | None = NO_MEMORY
    judged: bool = True

    @property
    def shot(self) -> Shot:
        """The frame as a `GraphSession` takes it."""
        return Shot(self.rainy, self.start)

    def part(self, picture: NDArray[np.generic]) -> NDArray[np.float64]:
        """What counts of `picture`."""
        return picture[: self.height, : self.width].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far INT8 is from FP32, and both from the truth.

    Attributes:
        psnr_db: INT8 against FP32 over all frames that are judged, in dB.
        float_db: Mean PSNR of FP32 against the truth; None without truth.
        int8_db: Mean PSNR of INT8 against the truth.
        flicker: Flicker of a still scene in grey levels, FP32 and INT8; None where it
            was not measured, because the pictures do not pass as they are.
    """

    psnr_db: float
    float_db: float | None = None
    int8_db: float | None = None
    flicker: tuple[float, float] | None = None

    @property
    def drop_db(self) -> float | None:
        """How much INT8 loses against the truth; None without truth."""
        if self.float_db is None or self.int8_db is None:
            return None
        return self.float_db - self.int8_db

    def to_json(self) -> dict[str, Any]:
        """The figures, rounded for people."""
        figures = {
            "psnr_db": self.psnr_db,
            "float_db": self.float_db,
            "int8_db": self.int8_db,
            "drop_db": self.drop_db,
        }
        rounded = {k: None if v is None else round(v, 3) for k, v in figures.items()}
        flicker = None if self.flicker is None else [round(x, 4) for x in self.flicker]
        return {**rounded, "flicker_levels": flicker}


class Scorer:
    """Compares INT8 graphs with the float graph they come from.

    Args:
        model: The float graph, frame to frame; ``derain`` nodes have bodies.
        frames: Held-out frames, at least one; those of a clip in order.
    """

    def __init__(self, model: ir.Model, frames: Sequence[HeldOut]) -> None:
        if not any(frame.judged for frame in frames):
            raise CalibrationError(
                "there is no frame left to measure INT8 on; give more frames"
            )
        self.frames = tuple(frames)
        self._model = model
        session = GraphSession(model)  # not kept: two sessions' memory is a lot
        self._wanted = [session.derain(*frame.shot) for frame in frames]
        self._clip: list[Shot] = []
        self._float_unrest = 0.0

    def first(self, judged: int) -> list[Shot]:
        """The first frames, so many that `judged` of them are judged."""
        shots: list[Shot] = []
        for frame in self.frames:
            if judged == 0:
                break
            shots.append(frame.shot)
            judged -= frame.judged
        return shots

    def score(self, model: ir.Model) -> Accuracy:
        """How good `model` is on the held-out frames."""
        session = GraphSession(model)
        errors: list[float] = []
        against_truth: list[tuple[float, float]] = []
        for frame, wanted in zip(self.frames, self._wanted, strict=True):
            got = frame.part(session.derain(*frame.shot))
            if not frame.judged:
                continue
            reference = frame.part(wanted)
            errors.append(_mse(got, reference))
            if frame.clean is not None:
                clean = frame.part(frame.clean)
                pair = psnr_of(_mse(reference, clean)), psnr_of(_mse(got, clean))
                against_truth.append(pair)
        float_db, int8_db = (
            np.mean(against_truth, axis=0) if against_truth else (None, None)
        )
        return Accuracy(
            psnr_db=psnr_of(float(np.mean(errors))),
            float_db=None if float_db is None else float(float_db),
            int8_db=None if int8_db is None else float(int8_db),
        )

    def flicker(self, model: ir.Model) -> tuple[float, float]:
        """Flicker of a still scene in moving rain, of FP32 and of `model`.

        Returns:
            Mean standard deviation of a pixel over time, in grey levels of 255.
        """
        if not self._clip:
            first = self.frames[0]
            scene = first.rainy if first.clean is None else first.clean
            settings = PRESETS["moderate"].scaled(scene.shape[0] / LINES)
            memory = first.start or NO_MEMORY
            warm = _WARM_FRAMES if memory.states else 0
            rainy = rain_on_clip([scene] * (warm + _FLICKER_FRAMES), settings)
            self._clip = [
                Shot(frame, None if index else memory)
                for index, frame in enumerate(rainy)
            ]
            self._float_unrest = self._unrest(GraphSession(self._model))
        return self._float_unrest, self._unrest(GraphSession(model))

    def _unrest(self, session: GraphSession) -> float:
        part = self.frames[0].part
        pictures = [part(session.derain(*shot)) for shot in self._clip]
        return float(np.mean(np.std(pictures[-_FLICKER_FRAMES:], axis=0)))


def psnr_of(mse: float) -> float:
    """PSNR in dB of a mean squared error in grey levels of 255, always finite."""
    return psnr_of_mse(mse, CEILING_DB)


def _mse(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.mean(np.square(a - b)))
