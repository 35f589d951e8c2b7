"""The options of ``derain-compile`` and `derain.compile`: one table for both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from derain.core.commands import SIZE, Parsed, Whole
from derain.core.errors import ConfigError
from derain.core.options import option
from derain.core.sizes import SizeLike, SizeRange, SizeRangeLike

if TYPE_CHECKING:  # the command's --help needs no NumPy
    from derain.runtime.tensorrt.engine_record import EngineBackend

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
TILING_LEVELS = ("none", "fast", "moderate", "full")


def parse_bytes(text: str) -> int:
    """``"512M"`` -> bytes.

    Raises:
        ValueError: `text` is not of that form.
    """
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not an amount of memory such as 512M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _parse_capability(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d", text.strip()):
        raise ValueError(f"{text!r} is not a compute capability such as 8.6")
    return text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """How to compile an engine; each is an option of ``derain-compile``, too.

    Attributes:
        backend: The library; None takes TensorRT if it is installed.
        size: One size, of a bundle that takes a range of sizes.
        dynamic: A smaller range of sizes than the bundle takes.
        workspace: Most device memory that a layer may use, in bytes.
        optimization_level: From 0, fastest build, to 5, fastest engine.
        tiling: How hard to look for tiles that stay in the L2 cache.
        fused_units: One kernel for each ShuffleNet unit of qsnet; TensorRT only.
        timing_cache: File with what earlier builds measured.
        no_timing_cache: Measure everything again.
        hardware_compatible: For every GPU since Ampere; TensorRT only.
        version_compatible: For later versions of the same major version; TensorRT only.
        compute_capability: For these kinds of GPU, present or not; TensorRT-RTX only.
        force: Build an engine again that is there.
    """

    backend: EngineBackend | None = option(
        None,
        "What builds the engine, and runs it.  [default: tensorrt if installed]",
        kind=click.Choice(["tensorrt", "tensorrt-rtx"]),
    )
    size: SizeLike | None = option(
        None, "One size, of a bundle that takes a range of sizes.", kind=SIZE
    )
    dynamic: SizeRangeLike | None = option(
        None,
        "A smaller range of sizes than the bundle takes.",
        kind=Parsed("MIN,OPT,MAX", SizeRange.parse),
    )
    workspace: int | None = option(
        None,
        "Most device memory that a layer may use, such as 512M.  [default: all, on a "
        "Jetson a quarter]",
        kind=Parsed("BYTES", parse_bytes),
    )
    optimization_level: int | None = option(
        None,
        "From 0, fastest build, to 5, fastest engine.  [default: 3]",
        kind=Whole(0, 5),
    )
    tiling: str | None = option(
        None,
        "How hard to look for kernels that hand tiles to each other through the L2 "
        "cache, for devices short of bandwidth; TensorRT 10.8 and newer.  [default: "
        "none]",
        kind=click.Choice(TILING_LEVELS),
    )
    fused_units: bool = option(
        False,
        "tensorrt: one kernel for each ShuffleNet unit of a bundle of derain-export "
        "--fused-units; experimental: no GPU has run it yet.",
    )
    timing_cache: Path | None = option(
        None,
        "File with what earlier builds measured.  [default: one for each device and "
        "version in the user's cache folder]",
        kind=click.Path(path_type=Path),
    )
    no_timing_cache: bool = option(False, "Measure everything again.")
    hardware_compatible: bool = option(
        False,
        "tensorrt: an engine for every GPU since Ampere; slower, and not on a Jetson.",
    )
    version_compatible: bool = option(
        False,
        "tensorrt: an engine that later versions of the same major version load, too.",
    )
    compute_capability: tuple[str, ...] = option(
        (),
        "tensorrt-rtx: build for this kind of GPU, present or not; repeat for more.",
        kind=Parsed("MAJOR.MINOR", _parse_capability),
        multiple=True,
    )
    force: bool = option(False, "Build an engine again that is there.")

    def check(self) -> None:
        """Raise unless the options go together.

        Raises:
            ConfigError: They do not.
        """
        if self.size is not None and self.dynamic is not None:
            raise ConfigError("--size and --dynamic exclude each other")
        if self.timing_cache is not None and self.no_timing_cache:
            raise ConfigError("--timing-cache and --no-timing-cache exclude each other")
        if self.fused_units and (self.hardware_compatible or self.version_compatible):
            raise ConfigError(
                "--fused-units goes with neither --hardware-compatible nor "
                "--version-compatible: its kernel is for this GPU and this TensorRT"
            )
        if self.tiling not in (None, *TILING_LEVELS):
            raise ConfigError(
                f"--tiling {self.tiling}: choose from {', '.join(TILING_LEVELS)}"
            )

    @property
    def sizes(self) -> SizeRange | None:
        """Frame sizes of the engine; None takes those of the bundle."""
        wanted = self.size if self.size is not None else self.dynamic
        return None if wanted is None else SizeRange.of(wanted)


class CompileKeywords(TypedDict, total=False):
    """Keywords of `derain.compile`: the fields of `CompileOptions`."""

    backend: EngineBackend | None
    size: SizeLike | None
    dynamic: SizeRangeLike | None
    workspace: int | None
    optimization_level: int | None
    tiling: str | None
    fused_units: bool
    timing_cache: Path | None
    no_timing_cache: bool
    hardware_compatible: bool
    version_compatible: bool
    compute_capability: tuple[str, ...]
    force: bool
