"""What CUDA device is there, asked before any library that needs one is loaded."""

from __future__ import annotations

import ctypes
import functools
import importlib
from contextlib import closing
from typing import Any

from derain.core.errors import EngineError
from derain.runtime.cuda import extra
from derain.runtime.cuda.device import DeviceFacts

_BINDINGS = "cuda.bindings.runtime"
_PER_MAJOR = 1000  # CUDA writes 12.6 as 12060


def probe(number: int = 0) -> DeviceFacts:
    """The facts about a CUDA device, by the first package that can tell them.

    Args:
        number: Of the device, from 0.

    Raises:
        EngineError: There is none, or no driver, or one that is too old, or the package
            that asks is missing.
    """
    try:
        return ask_bindings(number)
    except EngineError as error:
        if not _has_pycuda():
            raise
        try:
            return _ask_pycuda(number)
        except EngineError:
            if isinstance(error.__cause__, ImportError):
                raise
        raise  # what the package said that was preferred


@functools.cache
def has_cuda_device() -> bool:
    """Whether the CUDA driver finds a device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return False
    return count.value > 0


def ask_bindings(number: int = 0) -> DeviceFacts:
    """The facts about a CUDA device, as cuda-bindings tells them.

    Args:
        number: Of the device, from 0.

    Raises:
        EngineError: As of `probe`.
    """
    try:
        runtime: Any = importlib.import_module(_BINDINGS)
    except ImportError as error:
        raise EngineError(
            "no GPU: CUDA cannot be asked without the package cuda-bindings; run: "
            f"pip install 'derain[{extra()}]'"
        ) from error

    def ask(name: str, *arguments: object) -> Any:
        try:
            status, *values = getattr(runtime, name)(*arguments)
        except RuntimeError as error:  # a library of CUDA is not to be found
            reason = " ".join(str(error).split())
            raise EngineError(f"no GPU: {name}: {reason}") from error
        if status.value == 0:
            return values[0] if values else None
        _, text = runtime.cudaGetErrorString(status)
        raise EngineError(
            f"no GPU: {name}: {status.name}: {text.decode()}{_fix(runtime, status)}"
        )

    count = ask("cudaGetDeviceCount")
    if number >= count:
        raise EngineError(f"no GPU: CUDA finds {count} devices, wanted number {number}")
    facts = ask("cudaGetDeviceProperties", number)
    return DeviceFacts(
        name=facts.name.decode(),
        compute_capability=f"{facts.major}.{facts.minor}",
        driver=_version(ask("cudaDriverGetVersion")),
        runtime=_version(ask("cudaRuntimeGetVersion")),
        memory_bytes=int(facts.totalGlobalMem),
        integrated=bool(facts.integrated),
        multiprocessors=int(facts.multiProcessorCount),
    )


def _has_pycuda() -> bool:
    try:
        importlib.import_module("pycuda")  # the package alone, which needs no driver
    except ImportError:
        return False
    return True


def _ask_pycuda(number: int) -> DeviceFacts:
    from derain.runtime.cuda.pycuda_device import PycudaDevice

    with closing(PycudaDevice(number)) as opened:
        return opened.facts


def _version(number: int) -> str:
    """``12060`` -> ``"12.6"``."""
    return f"{number // _PER_MAJOR}.{number % _PER_MAJOR // 10}"


def _fix(runtime: Any, status: Any) -> str:
    if status.name == "cudaErrorNoDevice":
        return "; is one fitted, and does nvidia-smi list it?"
    if status.name != "cudaErrorInsufficientDriver":
        return ""
    _, driver = runtime.cudaDriverGetVersion()  # 0 where there is none
    _, wanted = runtime.cudaRuntimeGetVersion()
    if driver == 0:
        return "; there is no NVIDIA driver: install one"
    found = (
        f"; the driver is for CUDA {_version(driver)}, this cuda-bindings for "
        f"{_version(wanted)}"
    )
    if driver // _PER_MAJOR < 12:
        return f"{found}: install a newer driver, on a Jetson a newer JetPack"
    if driver // _PER_MAJOR == 12 < wanted // _PER_MAJOR:  # such as JetPack 6
        return (
            f"{found}; run: pip install 'derain[tensorrt-cuda12]', on JetPack 6: "
            "'derain[jetpack6]'"
        )
    return f"{found}: install a newer driver"
