"""What a build is asked for, and what it answers; both cross to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from derain.core.manifest import Precision
from derain.core.sizes import SizeRange
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.engine_states import StateRange


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build an engine.

    Attributes:
        workspace_bytes: Most device memory a layer may use while it runs; None takes a
            quarter where device and processor share it, else all there is.
        optimization_level: From 0 (fastest build) to 5 (fastest engine); None leaves
            it to the library: 3.
        tiling: How hard to look for kernels that hand tiles to each other through L2:
            ``none``, ``fast``, ``moderate`` or ``full``; None leaves it to the library:
            not at all.
        fused_units: Make each ``ShuffleUnit`` of the graph a plugin layer.
        hardware_compatible: For every GPU since Ampere.
        version_compatible: For later versions of the same major version, too.
        compute_capabilities: For these GPUs, present or not; TensorRT-RTX only.
        timing_cache: Use what earlier builds measured.
        timing_cache_file: Where that is; None takes the file of this device and version
            in the user's cache folder.
    """

    workspace_bytes: int | None = None
    optimization_level: int | None = None
    tiling: str | None = None
    fused_units: bool = False
    hardware_compatible: bool = False
    version_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()
    timing_cache: bool = True
    timing_cache_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build.

    Attributes:
        backend: The library.
        model: The ONNX file.
        precision: What the bundle says about it.
        sizes: Frame sizes the engine shall take.
        options: How to build it.
        states: What the bundle says that the model remembers.
    """

    backend: EngineBackend
    model: Path
    precision: Precision
    sizes: SizeRange
    options: BuildOptions
    states: tuple[StateRange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The request as a JSON object."""
        options = asdict(self.options)
        file = self.options.timing_cache_file
        return {
            "backend": self.backend,
            "model": str(self.model),
            "precision": self.precision,
            "sizes": str(self.sizes),
            "options": {**options, "timing_cache_file": file and str(file)},
            "states": [state.to_json() for state in self.states],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> BuildRequest:
        """The request that `to_json` wrote."""
        options = dict(fields["options"])
        file = options["timing_cache_file"]
        options["timing_cache_file"] = None if file is None else Path(file)
        options["compute_capabilities"] = tuple(options["compute_capabilities"])
        return cls(
            backend=fields["backend"],
            model=Path(fields["model"]),
            precision=fields["precision"],
            sizes=SizeRange.parse(fields["sizes"]),
            options=BuildOptions(**options),
            states=tuple(map(StateRange.from_json, fields["states"])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What the process that built an engine says about it.

    Attributes:
        version: Version of the library.
        device: The GPU that was there, if any.
        compute_capabilities: The engine runs on GPUs of these.
        seconds: How long parsing and building took.
        peak_bytes: Most host memory of the process.
        settings: See `EngineRecord.options`.
        network_types: See `EngineRecord.network_types`.
        layers: See `EngineRecord.layers`; None until it is inspected.
        notes: What was remarkable.
        plugin: See `EngineRecord.plugin`.
    """

    version: str
    device: DeviceFacts | None
    compute_capabilities: tuple[str, ...]
    seconds: float
    peak_bytes: int
    settings: dict[str, Any]
    network_types: dict[str, int]
    layers: dict[str, int] | None
    notes: tuple[str, ...]
    plugin: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The facts as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> BuildFacts:
        """The facts that `to_json` wrote."""
        device = fields["device"]
        return cls(
            **{
                **fields,
                "device": None if device is None else DeviceFacts(**device),
                "compute_capabilities": tuple(fields["compute_capabilities"]),
                "notes": tuple(fields["notes"]),
            }
        )
