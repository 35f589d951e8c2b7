"""CUDA source to a kernel of one device's machine code, by NVRTC; no toolkit needed.

NVRTC comes with JetPack, or with ``pip install nvidia-cuda-nvrtc``. It compiles where
there is no GPU, too, and for any architecture.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derain.core.errors import EngineError, MissingDependencyError
from derain.core.lazy import requires

_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_SPILLED = re.compile(r"(\d+) bytes spill stores")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledKernel:
    """Machine code of one kernel, and what a block of it takes.

    Attributes:
        name: Of the function, ``extern "C"``.
        capability: Compute capability that it was compiled for: "8.7".
        cubin: The machine code.
        registers: Of a thread.
        shared_bytes: Shared memory of a block.
        spilled_bytes: What a thread writes to memory for want of registers.
    """

    name: str
    capability: str
    cubin: bytes
    registers: int
    shared_bytes: int
    spilled_bytes: int


def compile_kernel(source: Path, name: str, capability: str) -> CompiledKernel:
    """Compile one kernel.

    Args:
        source: A CUDA file that includes no others.
        name: A function in it, ``extern "C" __global__``.
        capability: Of the device: "8.7" for every Orin.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: NVRTC is not there, or the source does not compile.
    """
    cubin, log = _compile(source, f"sm_{capability.replace('.', '')}", "CUBIN")
    return CompiledKernel(
        name=name,
        capability=capability,
        cubin=cubin,
        registers=_number(_REGISTERS, log),
        shared_bytes=_number(_SHARED, log),
        spilled_bytes=_number(_SPILLED, log),
    )


def compile_ptx(source: Path, capability: str) -> bytes:
    """Compile to PTX, which the driver makes machine code of.

    Args:
        source: A CUDA file that includes no others.
        capability: Of the oldest device that is to take it: "8.7" for every Orin.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: NVRTC is not there, or the source does not compile.
    """
    return _compile(source, f"compute_{capability.replace('.', '')}", "PTX")[0]


def _compile(source: Path, architecture: str, what: str) -> tuple[bytes, str]:
    """What NVRTC makes of `source`, ``"CUBIN"`` or ``"PTX"``, and its log."""
    with requires("tensorrt"):
        from cuda.bindings import nvrtc

    def call(function: str, *arguments: object) -> Any:
        try:
            status, *values = getattr(nvrtc, function)(*arguments)
        except RuntimeError as error:  # the library cannot be loaded
            raise EngineError(
                f"{source.name}: NVRTC is not installed; it comes with JetPack, or "
                f"run: pip install nvidia-cuda-nvrtc ({_line(str(error))})"
            ) from error
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise _NvrtcError(function, status.name)
        return values[0] if values else None

    text = source.read_bytes()
    program = call("nvrtcCreateProgram", text, source.name.encode(), 0, [], [])
    options = [f"--gpu-architecture={architecture}".encode()]
    if what == "CUBIN":
        options.append(b"--ptxas-options=-v")
    try:
        try:
            call("nvrtcCompileProgram", program, len(options), options)
        except _NvrtcError as error:
            log = ""
            with suppress(_NvrtcError):
                log = _text(call, program, "ProgramLog").decode(errors="replace")
            raise EngineError(
                f"{source.name} does not compile for {architecture}: "
                f"{_first_error(log) or error}"
            ) from error
        log = _text(call, program, "ProgramLog").decode(errors="replace")
        code = _text(call, program, what)
    except _NvrtcError as error:
        raise EngineError(f"{source.name}: {error}") from error
    finally:
        with suppress(_NvrtcError):
            call("nvrtcDestroyProgram", program)
    return code, log


class _NvrtcError(Exception):
    """A function of NVRTC failed."""

    def __init__(self, function: str, status: str) -> None:
        super().__init__(f"{function}: {status}")


def _text(call: Any, program: object, what: str) -> bytes:
    size: int = call(f"nvrtcGet{what}Size", program)
    content = bytes(size)
    call(f"nvrtcGet{what}", program, content)
    return content if what == "CUBIN" else content.rstrip(b"\0")


def _first_error(log: str) -> str:
    found = re.search(r"^.*?error: *(.*)$", log, re.MULTILINE)
    return _line(found[0]) if found else ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _number(pattern: re.Pattern[str], log: str) -> int:
    found = pattern.search(log)
    return int(found[1]) if found else 0


class LoadedKernel:
    """A kernel in the current CUDA context, ready to be started.

    Args:
        compiled: For the device of that context.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        EngineError: The driver does not take it.
    """

    def __init__(self, compiled: CompiledKernel) -> None:
        self._module = _driver("cuModuleLoadData", compiled.cubin)
        name = compiled.name.encode()
        self._function = _driver("cuModuleGetFunction", self._module, name)

    def launch(
        self,
        grid: tuple[int, int, int],
        threads: int,
        stream: int,
        inputs: Sequence[int],
        numbers: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        """Start it.

        Args:
            grid: Blocks along x, y and z.
            threads: Of a block.
            stream: A ``cudaStream_t``.
            inputs: Its first arguments, addresses on the device.
            numbers: The next ones, 32-bit integers.
            outputs: Its last arguments, addresses on the device.
        """
        address, number = (ctypes.c_void_p,), (ctypes.c_int,)
        values = (*inputs, *numbers, *outputs)
        types = address * len(inputs) + number * len(numbers) + address * len(outputs)
        _driver(
            "cuLaunchKernel",
            *(self._function, *grid, threads, 1, 1, 0, stream, (values, types), 0),
        )


def _driver(function: str, *arguments: object) -> Any:
    try:
        from cuda.bindings import driver
    except ModuleNotFoundError as error:
        raise MissingDependencyError("cuda-bindings", "tensorrt") from error
    status, *values = getattr(driver, function)(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise EngineError(f"{function}: {status.name}")
    return values[0] if values else None
