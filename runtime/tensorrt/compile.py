"""From a bundle to a bundle with an engine: what ``derain-compile`` does."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import EngineError
from derain.core.manifest import Manifest
from derain.core.progress import Progress, phase_line
from derain.core.sizes import SizeRange
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.engine_record import (
    PLATFORM,
    EngineBackend,
    EngineKind,
    EngineRecord,
)
from derain.runtime.tensorrt.install import digest_of, has_engine, install, plan_name
from derain.runtime.tensorrt.layer_precision import precision_note
from derain.runtime.tensorrt.library import installed
from derain.runtime.tensorrt.process import run_child

# (part that is done or None, what is being done)
Report = Callable[[float | None, str], None]


def choose_backend(options: BuildOptions) -> EngineBackend:
    """The library to build with: TensorRT where it is installed.

    Raises:
        EngineError: None is installed.
    """
    names = installed()
    if not names:
        raise EngineError(
            "neither tensorrt nor tensorrt_rtx is installed; TensorRT comes with "
            "JetPack, and a venv sees it when made with --system-site-packages; for "
            "TensorRT-RTX run: pip install 'derain[tensorrt-rtx]'"
        )
    if options.compute_capabilities and "tensorrt-rtx" in names:
        return "tensorrt-rtx"
    return names[0]


def compile_bundle(
    folder: Path,
    backend: EngineBackend,
    sizes: SizeRange | None,
    options: BuildOptions,
    *,
    force: bool,
    report: Report | None = None,
) -> EngineRecord:
    """Build an engine from the bundle in `folder` and add it to the bundle.

    Args:
        folder: The bundle.
        backend: The library.
        sizes: Frame sizes of the engine; None takes those of the bundle.
        options: How to build.
        force: Build even if the bundle holds an intact engine of this kind.
        report: Told how far the build is; None: shown as `Progress`.

    Returns:
        The record of the new engine.

    Raises:
        DerainError: Anything that is wrong with the bundle, the options, the library,
            the device or the place; the bundle is then as it was.
    """
    bundle = Bundle.open(folder)
    sizes = _sizes(bundle.manifest, sizes)
    request = BuildRequest(
        backend=backend,
        model=bundle.model_path,
        precision=bundle.manifest.precision,
        sizes=sizes,
        options=options,
    )

    def on_event(event: Mapping[str, Any]) -> None:
        if "started" in event and not force:
            device = event["started"]["device"]
            kind = _kind(
                request,
                event["started"]["version"],
                None if device is None else DeviceFacts(**device),
            )
            if has_engine(bundle, kind):
                raise EngineError(
                    f"{folder} has this engine already; build it again with --force"
                )
        part, phase = event.get("progress", (None, ""))
        told(part, phase)

    with closing(_Shown()) as shown, _nameless_file(folder) as plan:
        told = report or shown.update
        descriptor = plan.fileno()
        answer = run_child(
            {
                "action": "build",
                "build": request.to_json(),
                "plan_descriptor": descriptor,
            },
            on_event,
            (descriptor,),
        )
        facts = BuildFacts.from_json(answer)
        digest, length = digest_of(plan)
        kind = _kind(request, facts.version, facts.device)
        record = _record(bundle.manifest, request, facts, kind, digest, length)
        install(folder, record, plan)
    return record


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
    options = request.options
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
        driver=device.driver if device else None,
        cuda=device.runtime if device else None,
        onnx_sha256=manifest.files[MODEL_FILE],
        seconds=facts.seconds,
        peak_bytes=facts.peak_bytes,
        options={
            name: value
            for name, value in asdict(options).items()
            if name in ("workspace_bytes", "optimization_level") and value is not None
        },
        network_types=facts.network_types,
        layers=facts.layers,
        notes=(*filter(None, remarks), *facts.notes),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
    )
