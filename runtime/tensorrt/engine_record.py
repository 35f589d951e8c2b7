"""Engines in a bundle: what each was built for, and whether it may be loaded here.

An engine is a plan file as the builder made it (trtexec loads it), beside the model it
was built from, and a record in the manifest. Whether it fits is decided from the record
alone; its content is hashed before native code sees it.
"""

from __future__ import annotations

import hashlib
import platform as host
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import EngineError
from derain.core.sizes import Size, SizeRange
from derain.runtime.cuda.device import DeviceFacts

EngineBackend = Literal["tensorrt", "tensorrt-rtx"]

PLATFORM = f"{sys.platform}-{host.machine()}"  # "linux-aarch64"
AMPERE = (8, 0)  # the oldest GPU of a hardware-compatible engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """What an engine is for: of each kind, a bundle holds one.

    Attributes: those of `EngineRecord`.
    """

    backend: EngineBackend
    version: str
    platform: str
    gpu: str | None
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
        compute_capabilities: Of the GPUs it was built for: ``("8.7",)``.
        driver: CUDA version of the driver it was built with; None without a GPU.
        cuda: CUDA version of the runtime it was built with; None without a GPU.
        onnx_sha256: Of the model it was built from.
        sizes: Frame sizes it takes.
        hardware_compatible: Whether it runs on every GPU since Ampere.
        version_compatible: Whether later versions of the same major version load it;
            their runtime must set ``engine_host_code_allowed``.
        seconds: How long the build took.
        peak_bytes: Most host memory of the build.
        options: Options of the build that do not change where the engine runs.
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
    hardware_compatible: bool = False
    version_compatible: bool = False
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
        gpu = self.gpu or "GPUs"
        if self.hardware_compatible:
            gpu = "GPUs since Ampere"
        sm = ", ".join(self.compute_capabilities)
        return f"{self.backend} {self.version}, {gpu} ({sm}), {self.platform}"

    def to_json(self) -> dict[str, Any]:
        """The record as the JSON object that the manifest holds."""
        return {
            **asdict(self),
            "sizes": str(self.sizes),
            "compute_capabilities": list(self.compute_capabilities),
            "notes": list(self.notes),
        }

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
            }
            return cls(**known)
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"engine record: {error}") from error


def read_plan(
    bundle: Bundle,
    backend: EngineBackend,
    version: str,
    device: DeviceFacts,
    size: Size | None = None,
) -> tuple[EngineRecord, bytes]:
    """The engine of `bundle` that fits this machine: its record and its plan.

    Args:
        bundle: The opened bundle.
        backend: Library that will load the plan.
        version: Version of that library, as it says itself.
        device: The GPU it will run on.
        size: Size of the frames to come; None takes any engine.

    Returns:
        The record, and the plan's unchanged bytes. Of several engines that fit, the
        newest.

    Raises:
        EngineError: There is none, or none fits, or the plan is missing or changed. The
            message says what the engine was built for, what this is and what to run.
    """
    retry = f"run: derain-compile {bundle.folder} --backend {backend}"
    records = [r for r in _records(bundle, retry) if r.backend == backend]
    if not records:
        raise EngineError(f"{bundle.folder} has no {backend} engine; {retry}")
    misfits = [_misfit(record, bundle, version, device, size) for record in records]
    fitting = [
        record for record, why in zip(records, misfits, strict=True) if why is None
    ]
    if not fitting:
        raise EngineError(f"{bundle.folder}: {misfits[-1]}; {retry}")
    return fitting[-1], _read(bundle, fitting[-1], retry)


def _records(bundle: Bundle, retry: str) -> list[EngineRecord]:
    try:
        return [EngineRecord.from_json(fields) for fields in bundle.manifest.engines]
    except ValueError as error:
        raise EngineError(f"{bundle.folder}: damaged {error}; {retry}") from error


def _misfit(
    record: EngineRecord,
    bundle: Bundle,
    version: str,
    device: DeviceFacts,
    size: Size | None,
) -> str | None:
    """Why an engine must not be loaded here, or None."""
    if record.onnx_sha256 != bundle.manifest.files[MODEL_FILE]:
        return (
            f"{record.file} was built from another {MODEL_FILE} "
            f"({record.onnx_sha256[:12]}), this is "
            f"{bundle.manifest.files[MODEL_FILE][:12]}"
        )
    here = f"{record.backend} {version}, {device.name} ({device.compute_capability})"
    if not (
        record.platform == PLATFORM
        and _version_fits(record, version)
        and _device_fits(record, device)
    ):
        return (
            f"{record.file} was built for {record.built_for}, this is {here}, "
            f"{PLATFORM}"
        )
    if size is not None and size not in record.sizes:
        return f"{record.file} was built for frames of {record.sizes}, this is {size}"
    return None


def _version_fits(record: EngineRecord, version: str) -> bool:
    built, here = _version(record.version), _version(version)
    if record.version_compatible:
        return built[0] == here[0] and built <= here
    return built == here


def _device_fits(record: EngineRecord, device: DeviceFacts) -> bool:
    if record.hardware_compatible:
        major, _, minor = device.compute_capability.partition(".")
        return (int(major), int(minor)) >= AMPERE
    if device.compute_capability not in record.compute_capabilities:
        return False
    # TensorRT measured its kernels on that very GPU; TensorRT-RTX compiles them where
    # it runs.
    return record.backend == "tensorrt-rtx" or record.gpu == device.name


def _version(text: str) -> tuple[int, ...]:
    """Major, minor and patch: ``"10.16.1.11"`` -> ``(10, 16, 1)``."""
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _read(bundle: Bundle, record: EngineRecord, retry: str) -> bytes:
    try:
        plan = (bundle.folder / record.file).read_bytes()
    except OSError as error:
        raise EngineError(
            f"{bundle.folder}: {record.file} cannot be read: {error.strerror}; {retry}"
        ) from error
    if len(plan) != record.bytes:
        raise EngineError(
            f"{bundle.folder}: {record.file} has {len(plan)} bytes, was built with "
            f"{record.bytes}; {retry}"
        )
    if hashlib.sha256(plan).hexdigest() != record.sha256:
        raise EngineError(
            f"{bundle.folder}: {record.file} has changed since it was built; {retry}"
        )
    return plan
