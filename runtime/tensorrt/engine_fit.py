"""Whether an engine of a bundle may be loaded here: the rule, and the plan that fits.

It is decided from the record alone; the plan is hashed before native code sees it.
"""

from __future__ import annotations

import hashlib
import re

from derain.core.bundle import MODEL_FILE, MOST_FILE, Bundle
from derain.core.errors import EngineError
from derain.core.reading import read_bytes
from derain.core.sizes import Size
from derain.core.states import StateSpec
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt.engine_record import (
    PLATFORM,
    EngineBackend,
    EngineRecord,
    device_text,
)

_AMPERE = (8, 0)  # the oldest GPU of a hardware-compatible engine


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
    if record.states != bundle.manifest.states:
        return (
            f"{record.file} was compiled {_with(record.states)}, the bundle is one "
            f"{_with(bundle.manifest.states)}"
        )
    gpu = device_text(device.name, [device.compute_capability], device.multiprocessors)
    here = f"{record.backend} {version}, {gpu}"
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


def _with(states: tuple[StateSpec, ...]) -> str:
    if not states:
        return "without states"
    shown = (f"{s.name} {s.dtype} {'x'.join(map(str, s.shape))}" for s in states)
    return f"with states {', '.join(shown)}"


def _version_fits(record: EngineRecord, version: str) -> bool:
    built, here = _version(record.version), _version(version)
    if record.version_compatible:
        return built[0] == here[0] and built <= here
    return built == here


def _device_fits(record: EngineRecord, device: DeviceFacts) -> bool:
    if record.hardware_compatible:
        major, _, minor = device.compute_capability.partition(".")
        return (int(major), int(minor)) >= _AMPERE
    if device.compute_capability not in record.compute_capabilities:
        return False
    # TensorRT measured its kernels on that very GPU; TensorRT-RTX compiles them where
    # it runs.
    if record.backend == "tensorrt-rtx":
        return True
    counts = (record.multiprocessors, device.multiprocessors)
    return record.gpu == device.name and (None in counts or counts[0] == counts[1])


def _version(text: str) -> tuple[int, ...]:
    """Major, minor and patch: ``"10.16.1.11"`` -> ``(10, 16, 1)``."""
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def _read(bundle: Bundle, record: EngineRecord, retry: str) -> bytes:
    try:
        plan = read_bytes(bundle.folder / record.file, MOST_FILE)
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
