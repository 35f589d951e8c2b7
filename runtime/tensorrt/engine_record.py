"""Engines in a bundle: what each was built for.

An engine is a plan file as the builder made it (trtexec loads it), beside the model it
was built from, and a record in the manifest: from it `engine_fit` decides whether the
plan may be loaded here.
"""

from __future__ import annotations

import platform as host
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from derain.core.sizes import SizeRange
from derain.core.states import StateSpec

EngineBackend = Literal["tensorrt", "tensorrt-rtx"]

PLATFORM = f"{sys.platform}-{host.machine()}"  # "linux-aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """What an engine is for: of each kind, a bundle holds one.

    Attributes: those of `EngineRecord`.
    """

    backend: EngineBackend
    version: str
    platform: str
    gpu: str | None
    multiprocessors: int | None
    compute_capabilities: tuple[str, ...]
    sizes: SizeRange
    hardware_compatible: bool
    version_compatible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """How an engine was built and what it runs on.

    Attributes:
        file: Name of the plan in the bundle.
        sha256: Of the plan.
        bytes: Length of the plan.
        backend: Library that built it and must load it.
        version: Version of that library.
        platform: Operating system and processor.
        gpu: The GPU it was built on; None where it was built without one.
        multiprocessors: How many that GPU has: all Orins are called "Orin", 8.7. None
            without a GPU, and in records of derain 0.1 before it was kept.
        memory_bytes: Memory of that GPU, on a Jetson of the whole machine; as above.
        compute_capabilities: Of the GPUs it was built for: ``("8.7",)``.
        driver: CUDA version of the driver it was built with; None without a GPU.
        cuda: CUDA version of the runtime it was built with; None without a GPU.
        onnx_sha256: Of the model it was built from.
        sizes: Frame sizes it takes.
        states: What it remembers between frames; see `Manifest.states`.
        hardware_compatible: Whether it runs on every GPU since Ampere.
        version_compatible: Whether later versions of the same major version load it;
            their runtime must set ``engine_host_code_allowed``.
        plugin: Name of the plugin that must be registered before the plan is loaded.
        seconds: How long the build took.
        peak_bytes: Most host memory of the build.
        options: What the build was told that does not change where the engine runs:
            by its user, or by derain where memory is shared.
        network_types: Layers that do arithmetic on many values, counted by the type
            they compute in, in the network that the builder was given.
        layers: Layers of the engine, counted by the type of their result; None where
            the engine could not be loaded to be inspected.
        notes: What was remarkable about the build.
        created: UTC date and time, ISO 8601.
    """

    file: str
    sha256: str
    bytes: int
    backend: EngineBackend
    version: str
    platform: str
    gpu: str | None
    compute_capabilities: tuple[str, ...]
    driver: str | None
    cuda: str | None
    onnx_sha256: str
    sizes: SizeRange
    states: tuple[StateSpec, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False
    multiprocessors: int | None = None
    memory_bytes: int | None = None
    plugin: str | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    network_types: dict[str, int] = field(default_factory=dict)
    layers: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
    created: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+\.plan", self.file):
            raise ValueError(f"file {self.file!r} is not the name of a plan")
        if self.backend not in get_args(EngineBackend):
            raise ValueError(f"backend {self.backend!r} is not known")
        for text in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d+", text):
                raise ValueError(f"compute capability {text!r} is not like 8.7")

    @property
    def kind(self) -> EngineKind:
        """What it is for."""
        names = EngineKind.__dataclass_fields__
        return EngineKind(**{name: getattr(self, name) for name in names})

    @property
    def built_for(self) -> str:
        """Library and GPU in a few words."""
        gpu, count = self.gpu or "GPUs", self.multiprocessors
        if self.hardware_compatible:
            gpu, count = "GPUs since Ampere", None
        device = device_text(gpu, self.compute_capabilities, count)
        return f"{self.backend} {self.version}, {device}, {self.platform}"

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON object that the manifest holds."""
        fields = {
            **asdict(self),
            "sizes": str(self.sizes),
            "compute_capabilities": list(self.compute_capabilities),
            "notes": list(self.notes),
            "states": [state.to_json() for state in self.states],
        }
        for name in ("states", "plugin"):
            if not getattr(self, name):  # as records were before there were any
                del fields[name]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EngineRecord:
        """The record that a manifest holds; fields it does not know are ignored.

        Raises:
            ValueError: A field is missing or has a value that makes no sense.
        """
        try:
            known = {k: fields[k] for k in cls.__dataclass_fields__ if k in fields}
            known |= {
                "sizes": SizeRange.parse(fields["sizes"]),
                "compute_capabilities": tuple(fields["compute_capabilities"]),
                "notes": tuple(fields.get("notes", ())),
                "states": tuple(map(StateSpec.from_json, fields.get("states", ()))),
            }
            return cls(**known)
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"engine record: {error}") from error


def device_text(
    name: str, compute_capabilities: Iterable[str], multiprocessors: int | None
) -> str:
    """``Orin (8.7), 16 multiprocessors``."""
    text = f"{name} ({', '.join(compute_capabilities)})"
    return f"{text}, {multiprocessors} multiprocessors" if multiprocessors else text
