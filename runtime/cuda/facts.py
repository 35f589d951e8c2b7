"""What a CUDA device is, as engines and benchmarks record it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One CUDA device.

    Attributes:
        name: As the driver calls it: "Orin", "NVIDIA GeForce RTX 4090".
        compute_capability: Major and minor version: "8.7".
        driver: CUDA version the driver supports: "12.6".
        runtime: CUDA version of the runtime library in use: "12.6".
        memory_bytes: Memory of the device; on a Jetson that of the whole machine.
        integrated: Whether device and processor share their memory, as on a Jetson.
    """

    name: str
    compute_capability: str
    driver: str
    runtime: str
    memory_bytes: int
    integrated: bool
