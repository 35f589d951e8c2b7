"""What a bundle in INT8 moves a frame, beside the same network in FP16.

No kernel of TensorRT-RTX 1.7.1 multiplies in INT8 and writes INT8 (capabilities 7.5,
8.0, 8.6, 8.9 and 12.0; thirty small graphs: 32, 64 and 128 channels; scales per channel
and per tensor, of 1 and in FP32 too; with and without bias, ReLU, clip and residual;
3x3 and 1x1). It writes FP16 where weights have one scale, FP32 where each
channel has its own, and another kernel reads that and quantises. A convolution of C
channels moves 4 C bytes a pixel in FP16, 6 C or 10 C so. On TensorRT proper kernels
quantise what they write; that is *read*, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from derain.core.manifest import Manifest
from derain.core.sizes import Size

_ORIGIN = "TensorRT-RTX 1.7.1"
_MEASURED_AT = Size(1280, 720)
# MB a frame of that size, FP16 and INT8, target tensorrt, every layer that may be INT8
# and residuals with them: of benchmarks/results/bytes, with which a test compares.
# What accuracy control gives back makes INT8 a little less (qsnet, calibrated: 9284),
# one scale for all weights of a layer 993 of 1615 at 640x360 (treefusion): still more
# than FP16.
MEASURED = {
    "treefusion": (3790, 6506),
    "qsnet": (5087, 10714),
    "stagewise": (12654, 25286),
    "granet": (4735, 9557),
    "nledn": (8077, 13424),
    "rivulet": (450, 777),
    "rivulet-s": (362, 585),
}


@dataclass(frozen=True, slots=True)
class Int8Bytes:
    """Bytes that the kernels of two engines move a frame.

    Attributes:
        int8: Of the bundle.
        fp16: Of the same network in FP16.
        size: Of the frame.
        origin: How they are known.
    """

    int8: int
    fp16: int
    size: Size
    origin: str

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, which `int8_bytes` finds in a manifest."""
        return {
            "int8": self.int8,
            "fp16": self.fp16,
            "size": str(self.size),
            "origin": self.origin,
        }

    def warning(self) -> str:
        """A line where INT8 moves more; empty where it does not."""
        if self.int8 <= self.fp16:
            return ""
        return (
            f"INT8 moves {self.int8 / 1e6:.0f} MB for a frame of {self.size}, FP16 "
            f"{self.fp16 / 1e6:.0f} MB ({self.origin}): {self.int8 / self.fp16:.1f} "
            "times as many, so --fp16 is faster there where memory binds; TensorRT "
            "proper may move less"
        )


def int8_bytes(manifest: Manifest) -> Int8Bytes | None:
    """What is known of the bundle of `manifest`; None where it is not INT8, or nothing.

    The manifest itself says it, or what was measured of its network.
    """
    if manifest.precision != "int8":
        return None
    figures = manifest.verification.get("int8")
    said = figures.get("moved_bytes") if isinstance(figures, dict) else None
    if isinstance(said, dict):
        try:
            return Int8Bytes(
                int8=int(said["int8"]),
                fp16=int(said["fp16"]),
                size=Size.parse(str(said["size"])),
                origin=str(said["origin"]),
            )
        except (KeyError, TypeError, ValueError):
            return None
    return known_bytes(manifest.model, manifest.sizes.optimum)


def known_bytes(model: str, size: Size) -> Int8Bytes | None:
    """What was measured of a network that ships, for frames of `size`."""
    if model not in MEASURED:
        return None
    part = size.pixels / _MEASURED_AT.pixels
    fp16, int8 = (round(1e6 * count * part) for count in MEASURED[model])
    return Int8Bytes(int8, fp16, size, f"as measured with {_ORIGIN} at {_MEASURED_AT}")


def compared(int8: int, fp16: int, size: Size, version: str) -> Int8Bytes:
    """What two engines that were compiled now move."""
    return Int8Bytes(int8, fp16, size, f"compiled with TensorRT-RTX {version}")
