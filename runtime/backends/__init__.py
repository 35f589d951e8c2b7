"""Inference backends: a new one is one file, and one row of this table.

Each is imported when it is first opened or asked whether it works here.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from derain.core.errors import EngineError, MissingDependencyError, UnknownNameError
from derain.core.lazy import load

if TYPE_CHECKING:  # the table itself needs no NumPy: ``--help`` lists it
    from derain.core.bundle import Bundle
    from derain.core.manifest import Precision
    from derain.runtime.backends.protocol import Backend

AUTO = "auto"
_X86 = platform.machine() in ("x86_64", "AMD64")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendEntry:
    """Where a backend lives, what it needs and what it is good at.

    Attributes:
        module: Module under `derain.runtime`.
        factory: Callable in it: ``factory(bundle, threads)`` returns a `Backend`.
        check: Callable in it: ``check()`` says in a line why the backend works here, or
            raises an `EngineError` that says why not.
        extra: The ``derain[...]`` extra that installs its dependencies; empty where the
            plain install has them.
        summary: One line for ``--help``.
        device: What it computes on.
        precisions: Of which bundles it runs as fast as, or faster than, in FP32; others
            are emulated, and slower.
        compiled: Whether it wants an engine that ``derain-compile`` has put into the
            bundle.
        address: How it is named where it is elsewhere, such as ``name://HOST:PORT``;
            what follows ``://`` is given to the factory in place of threads. Empty
            where it is here.
        slow: What to do where a bundle is of another precision, by precision.
    """

    module: str
    factory: str
    check: str
    summary: str
    device: Literal["cpu", "gpu"]
    precisions: tuple[Precision, ...]
    extra: str = ""
    compiled: bool = False
    address: str = ""
    slow: Mapping[str, str] | None = None

    def advice(self, precision: str) -> str | None:
        """What is better for a bundle of that precision, or None."""
        return (self.slow or {}).get(precision)


BACKENDS = {
    "onnxruntime": BackendEntry(
        module="backends.ort",
        factory="open_cpu",
        check="check_cpu",
        summary="ONNX Runtime on the processor; runs everywhere",
        device="cpu",
        precisions=("fp32",),
        # Against FP32 at 512x512: FP16 takes as long for qsnet, 1.2 times as long for
        # granet, 1.3 for nledn, 1.6 for stagewise, 2.2 for treefusion; INT8 takes 2.6
        # times as long for qsnet.
        slow={
            "fp16": "processors emulate FP16: a bundle exported with --fp32 is as fast "
            "here or faster",
            "int8": "ONNX Runtime's processor runs INT8 slower than FP32: give "
            "--backend openvino on x86 (pip install 'derain[openvino]'), or export "
            "with --fp32",
        },
    ),
    "onnxruntime-cuda": BackendEntry(
        module="backends.ort",
        factory="open_cuda",
        check="check_cuda",
        extra="gpu",
        summary="ONNX Runtime on an NVIDIA GPU",
        device="gpu",
        precisions=("fp32", "fp16"),
    ),
    "openvino": BackendEntry(
        module="backends.openvino",
        factory="open_openvino",
        check="check_openvino",
        extra="openvino",
        summary="OpenVINO on the processor; INT8 faster than FP32 on x86",
        device="cpu",
        precisions=("fp32", "int8") if _X86 else ("fp32",),
    ),
    "tensorrt": BackendEntry(
        module="tensorrt.open_engine",
        factory="open_tensorrt",
        check="check_tensorrt",
        extra="tensorrt",
        summary="an engine that derain-compile has put into the bundle; for a Jetson",
        device="gpu",
        precisions=("fp32", "fp16", "int8"),
        compiled=True,
    ),
    "tensorrt-rtx": BackendEntry(
        module="tensorrt.open_engine",
        factory="open_tensorrt_rtx",
        check="check_tensorrt_rtx",
        extra="tensorrt-rtx",
        summary="the same with TensorRT-RTX; for GeForce RTX and alike",
        device="gpu",
        precisions=("fp32", "fp16", "int8"),
        compiled=True,
    ),
    # What a server computes on is its own business, and auto asks none.
    "triton": BackendEntry(
        module="backends.triton",
        factory="open_triton",
        check="check_triton",
        extra="triton",
        summary="triton://HOST:PORT/MODEL: a Triton server, with what derain-triton "
        "has made of the bundle",
        device="cpu",
        precisions=("fp32",),
        address="triton://HOST:PORT/MODEL",
    ),
}
REFERENCE = next(iter(BACKENDS))  # installed everywhere, and runs every bundle


class WorkingBackends(tuple[str, ...]):
    """Names of backends; ``print`` shows why each works here, or why not.

    Attributes:
        reasons: A line for every backend, by name, whether it works here or not.
    """

    reasons: dict[str, str]

    def __str__(self) -> str:
        return "\n".join(
            f"{name:16}  {'yes' if name in self else 'no ':3}  {reason}"
            for name, reason in self.reasons.items()
        )


def backends() -> WorkingBackends:
    """The names of the backends that work on this machine.

    Returns:
        Names for `derain.load`, in the table's order; ``print`` says of all why they
        work or do not. Nothing is raised.

    Example:
        >>> import derain
        >>> "onnxruntime" in derain.backends()
        True
    """
    working, reasons = [], {}
    for name in BACKENDS:
        try:
            reasons[name] = check_backend(name)
            working.append(name)
        except (EngineError, MissingDependencyError) as error:
            reasons[name] = str(error)
    found = WorkingBackends(working)
    found.reasons = reasons
    return found


def check_backend(name: str) -> str:
    """Why the backend called `name` works on this machine, in a line.

    Raises:
        UnknownNameError: `name` is not in `BACKENDS`.
        MissingDependencyError: Its optional package is not installed.
        EngineError: It does not work here, and why.
    """
    entry = backend_entry(name)
    check = load(f"derain.runtime.{entry.module}", entry.check, entry.extra)
    return cast(str, check())


def candidates(bundle: Bundle) -> list[str]:
    """Backends that may run `bundle`, the fastest first, up to the reference.

    Engines in the bundle come first, then GPUs, then processors that compute in the
    bundle's precision. Whether they work here is found out by trying.
    """
    engines = {fields.get("backend") for fields in bundle.manifest.engines}
    fitting = [
        name
        for name, entry in BACKENDS.items()
        if not entry.compiled or name in engines
    ]

    def speed(name: str) -> tuple[bool, bool, bool]:
        entry = BACKENDS[name]
        emulates = bundle.manifest.precision not in entry.precisions
        return not entry.compiled, entry.device != "gpu", emulates

    fitting.sort(key=speed)  # of the same speed, the first in the table
    return fitting[: fitting.index(REFERENCE) + 1]


def open_backend(name: str, bundle: Bundle, threads: int = 0) -> Backend:
    """Load `bundle` with the backend called `name`.

    Args:
        name: A key of `BACKENDS`, or an address as its row says.
        bundle: The opened bundle.
        threads: Processor threads; 0 takes one per core.

    Raises:
        UnknownNameError: `name` is not in `BACKENDS`.
        MissingDependencyError: The backend's optional package is not installed.
        EngineError: This backend or device cannot run the bundle.
    """
    entry = backend_entry(name)
    factory = load(f"derain.runtime.{entry.module}", entry.factory, entry.extra)
    if entry.address:
        return cast("Backend", factory(bundle, name.partition("://")[2]))
    return cast("Backend", factory(bundle, threads))


def is_address(name: str) -> bool:
    """Whether `name` is the address of a backend that is elsewhere."""
    kind, sign, _ = name.partition("://")
    return bool(sign) and kind in BACKENDS and bool(BACKENDS[kind].address)


def backend_entry(name: str) -> BackendEntry:
    """The row of a backend, by its name or address.

    Raises:
        UnknownNameError: There is none.
    """
    try:
        return BACKENDS[name.partition("://")[0] if is_address(name) else name]
    except KeyError:
        raise UnknownNameError("backend", name, (AUTO, *BACKENDS)) from None
