"""From a bundle to a bundle with an engine: `derain.compile`, ``derain-compile``."""

from __future__ import annotations

import datetime
import logging
import tempfile
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.core.progress import Progress, phase_line
from derain.core.sizes import ANY_SIZE, SizeRange
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt.build import not_inspected
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.compile_options import CompileKeywords, CompileOptions
from derain.runtime.tensorrt.engine_record import (
    PLATFORM,
    EngineBackend,
    EngineKind,
    EngineRecord,
)
from derain.runtime.tensorrt.engine_states import state_ranges
from derain.runtime.tensorrt.fused_units import check_fused_units
from derain.runtime.tensorrt.install import digest_of, has_engine, install, plan_name
from derain.runtime.tensorrt.int8_bytes import int8_bytes
from derain.runtime.tensorrt.layer_precision import precision_note
from derain.runtime.tensorrt.library import installed
from derain.runtime.tensorrt.process import run_child

if TYPE_CHECKING:
    from typing_extensions import Unpack

_log = logging.getLogger(__name__)


def compile(
    bundle: Bundle | Path | str, **options: Unpack[CompileKeywords]
) -> EngineRecord:
    """Compile an engine for this device, and put it into the bundle.

    Args:
        bundle: A folder that `derain.export` made, or that bundle opened.
        **options: Fields of `CompileOptions`; sizes may be ``"1280x720"`` or ``(1280,
            720)``, ``workspace`` is in bytes.

    Returns:
        What the engine is and how it was built; ``derain.load`` takes the one that
        fits.

    Raises:
        BundleError: `bundle` is none, or damaged.
        ConfigError: Two options exclude each other.
        EngineError: The library or the device is not there or fails, or the bundle
            cannot be written; the bundle is then as it was.

    Example:
        >>> import derain
        >>> record = derain.compile("qsnet-fp16-1280x720", workspace=512 << 20)
        >>> record.file.endswith(".plan")
        True
    """
    return compile_bundle(bundle, CompileOptions(**options))


def choose_backend(options: CompileOptions) -> EngineBackend:
    """The library to build with: TensorRT where it is installed.

    Raises:
        EngineError: None is installed.
    """
    if options.backend is not None:
        return options.backend
    names = installed()
    if not names:
        raise EngineError(
            "neither tensorrt nor tensorrt_rtx is installed; TensorRT comes with "
            "JetPack, and a venv sees it when made with --system-site-packages; for "
            "TensorRT-RTX run: pip install 'derain[tensorrt-rtx]'"
        )
    if options.compute_capability and "tensorrt-rtx" in names:
        return "tensorrt-rtx"
    return names[0]


def compile_bundle(
    bundle: Bundle | Path | str, options: CompileOptions
) -> EngineRecord:
    """What `compile` does, with its options as one object.

    What is remarkable about the engine is logged as a warning.
    """
    options.check()
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    folder, manifest = bundle.folder, bundle.manifest
    sizes = _sizes(manifest, options.sizes)
    backend = choose_backend(options)
    if options.fused_units:
        check_fused_units(manifest, backend)
    request = BuildRequest(
        backend=backend,
        model=bundle.model_path,
        precision=manifest.precision,
        sizes=sizes,
        states=state_ranges(manifest, sizes),
        options=BuildOptions(
            workspace_bytes=options.workspace,
            optimization_level=options.optimization_level,
            tiling=options.tiling,
            fused_units=options.fused_units,
            hardware_compatible=options.hardware_compatible,
            version_compatible=options.version_compatible,
            compute_capabilities=tuple(dict.fromkeys(options.compute_capability)),
            timing_cache=not options.no_timing_cache,
            timing_cache_file=options.timing_cache,
        ),
    )
    if manifest.batch > 1:
        _log.warning(
            f"the engine takes one frame a call: batches of {manifest.batch} are for "
            "ONNX Runtime and OpenVINO"
        )
    moved = int8_bytes(manifest)
    if moved is not None and request.backend == "tensorrt-rtx" and moved.warning():
        _log.warning("%s", moved.warning())
    with _nameless_file(folder) as plan:
        facts = _build(request, bundle, plan, force=options.force)
        digest, length = digest_of(plan)
        kind = _kind(request, facts.version, facts.device)
        record = _record(manifest, request, facts, kind, digest, length)
        install(folder, record, plan)
    for note in record.notes:
        _log.warning("%s", note)
    return record


def _build(
    request: BuildRequest, bundle: Bundle, plan: IO[bytes], *, force: bool
) -> BuildFacts:
    """Build in a process of its own, which writes to `plan`.

    That process may crash when it inspects the engine: which is written by then.
    """
    built: Mapping[str, Any] | None = None
    with closing(_Shown()) as shown:

        def on_event(event: Mapping[str, Any]) -> None:
            nonlocal built
            built = event.get("built", built)
            if "started" in event and not force:
                _refuse_twice(request, bundle, event["started"])
            shown.update(*event.get("progress", (None, "")))

        try:
            answer = run_child(
                {
                    "action": "build",
                    "build": request.to_json(),
                    "plan_descriptor": plan.fileno(),
                },
                on_event,
                (plan.fileno(),),
            )
        except EngineError as error:
            if built is None:
                raise
            notes = [*built["notes"], not_inspected(str(error))]
            answer = {**built, "notes": notes}
    return BuildFacts.from_json(answer)


def _refuse_twice(
    request: BuildRequest, bundle: Bundle, started: Mapping[str, Any]
) -> None:
    device = started["device"]
    facts = None if device is None else DeviceFacts(**device)
    if has_engine(bundle, _kind(request, started["version"], facts)):
        raise EngineError(
            f"{bundle.folder} has this engine already; build it again with --force"
        )


class _Shown:
    """How far a build is, as a line of `Progress`."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._last = 0.0, "starting"

    def update(self, part: float | None, phase: str) -> None:
        """Take note of how far it is; None only lets the time go on."""
        if part is not None:
            self._last = part, phase
        self._progress.update(partial(phase_line, *self._last))

    def close(self) -> None:
        self._progress.close()


def _nameless_file(folder: Path) -> IO[bytes]:
    """An open file on the disk of `folder` that no kill can leave behind.

    The child writes to it; `install` gives what is whole a name, atomically.

    Raises:
        EngineError: The folder cannot be written.
    """
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise EngineError(f"{folder} cannot be written: {error.strerror}") from error


def _sizes(manifest: Manifest, wanted: SizeRange | None) -> SizeRange:
    """The sizes to build for.

    Raises:
        EngineError: The graph does not take them.
    """
    have = manifest.sizes
    if wanted is None and have == ANY_SIZE:
        raise EngineError(
            f"the bundle takes any size up to {have.maximum}, for which an engine "
            "would hold its memory; run: derain-compile with the --size of the frames, "
            "or --dynamic MIN,OPT,MAX"
        )
    if wanted is None:
        return have
    if wanted.minimum in have and wanted.maximum in have:
        return wanted
    option = "--size" if wanted.is_static else "--dynamic"
    raise EngineError(
        f"the bundle takes frames of {have}, not {wanted}; run: derain-export --model "
        f"{manifest.model} --{manifest.precision} --target tensorrt {option} {wanted}"
    )


def _kind(
    request: BuildRequest, version: str, device: DeviceFacts | None
) -> EngineKind:
    options = request.options
    capabilities = options.compute_capabilities
    if device is not None and not capabilities:
        capabilities = (device.compute_capability,)
    ahead_of_time = bool(options.compute_capabilities) or device is None
    return EngineKind(
        backend=request.backend,
        version=version,
        platform=PLATFORM,
        gpu=None if ahead_of_time or device is None else device.name,
        multiprocessors=(
            None if ahead_of_time or device is None else device.multiprocessors
        ),
        compute_capabilities=capabilities,
        sizes=request.sizes,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
    )


def _record(
    manifest: Manifest,
    request: BuildRequest,
    facts: BuildFacts,
    kind: EngineKind,
    digest: str,
    length: int,
) -> EngineRecord:
    device = facts.device
    audits = (
        (facts.network_types, "convolutions and matrix products"),
        (facts.layers or {}, "layers of the engine"),
    )
    remarks = [
        precision_note(manifest.precision, types, what)
        for types, what in audits
        if types
    ]
    return EngineRecord(
        **{name: getattr(kind, name) for name in EngineKind.__dataclass_fields__},
        file=plan_name(kind, digest),
        sha256=digest,
        bytes=length,
        memory_bytes=device.memory_bytes if device else None,
        driver=device.driver if device else None,
        cuda=device.runtime if device else None,
        onnx_sha256=manifest.files[MODEL_FILE],
        states=manifest.states,
        plugin=facts.plugin,
        seconds=facts.seconds,
        peak_bytes=facts.peak_bytes,
        options=facts.settings,
        network_types=facts.network_types,
        layers=facts.layers,
        notes=(*filter(None, remarks), *facts.notes),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
    )
