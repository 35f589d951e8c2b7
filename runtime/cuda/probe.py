"""What CUDA device is there, asked before any library that needs one is loaded."""

from __future__ import annotations

import importlib
from contextlib import closing
from typing import Any

from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceFacts

_BINDINGS = "cuda.bindings.runtime"


def probe(device: int = 0) -> DeviceFacts:
    """The facts about a CUDA device.

    Args:
        device: Its number, from 0.

    Raises:
        EngineError: There is none, or no driver, or one that is too old, or the package
            that asks is missing.
    """
    try:
        runtime: Any = importlib.import_module(_BINDINGS)
    except ImportError as error:
        if _has_pycuda():
            return _ask_pycuda(device)
        raise EngineError(
            "no GPU: CUDA cannot be asked without the package cuda-bindings; run: "
            "pip install 'derain[tensorrt]'"
        ) from error

    def ask(name: str, *arguments: object) -> Any:
        try:
            status, *values = getattr(runtime, name)(*arguments)
        except RuntimeError as error:  # a library of CUDA is not to be found
            reason = " ".join(str(error).split())
            raise EngineError(f"no GPU: {name}: {reason}") from error
        if int(status) == 0:
            return values[0] if values else None
        _, text = runtime.cudaGetErrorString(status)
        raise EngineError(
            f"no GPU: {name}: {status.name}: {text.decode()}{_fix(status)}"
        )

    count = ask("cudaGetDeviceCount")
    if device >= count:
        raise EngineError(f"no GPU: CUDA finds {count} devices, wanted number {device}")
    facts = ask("cudaGetDeviceProperties", device)
    return DeviceFacts(
        name=facts.name.decode(),
        compute_capability=f"{facts.major}.{facts.minor}",
        driver=_version(ask("cudaDriverGetVersion")),
        runtime=_version(ask("cudaRuntimeGetVersion")),
        memory_bytes=int(facts.totalGlobalMem),
        integrated=bool(facts.integrated),
    )


def _has_pycuda() -> bool:
    try:
        importlib.import_module("pycuda")  # the package alone, which needs no driver
    except ImportError:
        return False
    return True


def _ask_pycuda(device: int) -> DeviceFacts:
    from derain.runtime.cuda.pycuda_device import PycudaDevice

    with closing(PycudaDevice(device)) as opened:
        return opened.facts


def _version(number: int) -> str:
    """``12060`` -> ``"12.6"``."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _fix(status: Any) -> str:
    if status.name == "cudaErrorInsufficientDriver":  # also where there is no driver
        return "; install NVIDIA's driver, or a newer one"
    if status.name == "cudaErrorNoDevice":
        return "; is one fitted, and does nvidia-smi list it?"
    return ""
