"""Whether a bundle fits this machine."""

from __future__ import annotations

import json

from derain.core.errors import EngineError
from derain.runtime.backends import BACKENDS, REFERENCE
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.doctor.machine import CheckContext, Finding, last_line
from derain.runtime.doctor.resources import available_bytes
from derain.runtime.doctor.software import ask_backend
from derain.runtime.tensorrt.engine_fit import read_plan
from derain.runtime.tensorrt.engine_record import EngineBackend
from derain.runtime.tensorrt.library import MODULES

_FP32_BYTES = 4
_CHANNELS = 6  # a frame in and a frame out: less is impossible
_SETS = 2  # of states: one that is read, one that is written
_FPS = 30.0  # of the camera that a delay is told for

_FACTS = """
import json
from dataclasses import asdict
from derain.runtime.cuda.probe import probe
from derain.core.errors import EngineError
import {module} as library
try:
    print(json.dumps([library.__version__, asdict(probe())]))
except EngineError as error:
    raise SystemExit(str(error))
"""


def check_bundle_size(context: CheckContext) -> Finding:
    """Whether the bundle can fit into the memory at all."""
    bundle = context.bundle
    assert bundle is not None  # the table asks with a bundle only
    manifest = bundle.manifest
    size = manifest.sizes.maximum
    model = bundle.model_path.stat().st_size
    least = model + size.width * size.height * _CHANNELS * _FP32_BYTES
    least += _SETS * manifest.state_bytes(size)
    if manifest.batch > 1:  # both graphs are loaded, one frame in each row
        rows = manifest.batch * size.width * size.height * _CHANNELS * _FP32_BYTES
        least += bundle.batch_path.stat().st_size + rows
    free = available_bytes(context)
    found = (
        f"{manifest.model}, {manifest.precision}, frames of {manifest.sizes}"
        f"{_batch_text(manifest.batch)}; at least {least / 2**20:.0f} MiB"
    )
    if free is not None and least > free:
        return Finding(
            "missing",
            f"{found}, {free / 2**20:.0f} MiB are free",
            "export the bundle with a smaller --size",
        )
    return Finding("ok", found)


def _batch_text(batch: int) -> str:
    return f", {batch} a call of several cameras" if batch > 1 else ""


def check_bundle_states(context: CheckContext) -> Finding:
    """What the bundle remembers between frames, and how late its pictures are."""
    bundle = context.bundle
    assert bundle is not None  # the table asks with a bundle only
    manifest = bundle.manifest
    count, size = len(manifest.states), manifest.sizes.optimum
    if not count:
        return Finding("ok", "none: each frame is derained by itself")
    text = f"{count} state{'s' if count > 1 else ''}, {_SETS} x "
    text += f"{manifest.state_bytes(size) / 2**20:.1f} MiB a camera at {size}"
    if late := manifest.look_ahead:
        frames = f"{late} frame{'s' if late > 1 else ''}"
        text += f"; pictures come {frames} late (look-ahead), "
        text += f"{late / _FPS * 1000:.0f} ms at {_FPS:.0f} frames/s"
    return Finding("ok", text)


def check_bundle_precision(context: CheckContext) -> Finding:
    """Whether something here computes in the bundle's precision."""
    bundle = context.bundle
    assert bundle is not None  # the table asks with a bundle only
    precision = bundle.manifest.precision
    if precision in BACKENDS[REFERENCE].precisions:
        return Finding("ok", f"{precision} runs everywhere")
    for name, entry in BACKENDS.items():
        if precision in entry.precisions:
            answer = ask_backend(context, name)
            if answer.status == 0:
                return Finding("ok", f"{precision}, as {last_line(answer)} computes")
    advice = BACKENDS[REFERENCE].advice(precision) or "nothing here computes in it"
    text, _, fix = advice.partition(": ")
    return Finding("warn", f"{precision}: {text}", fix)


def check_bundle_engines(context: CheckContext) -> Finding:
    """Whether one of the bundle's engines fits this GPU and TensorRT."""
    bundle = context.bundle
    assert bundle is not None  # the table asks with a bundle only
    reasons = []
    for backend in MODULES:
        facts = _facts(context, backend)
        if facts is None:
            continue
        version, device = facts
        try:
            record, _ = read_plan(bundle, backend, version, device)
        except EngineError as error:
            reasons.append(str(error))
            continue
        return Finding("ok", f"{record.file}: {record.built_for}")
    if not reasons:
        count = len(bundle.manifest.engines)
        return Finding("absent", f"{count} in the bundle, no GPU with TensorRT here")
    text, _, fix = reasons[0].rpartition("; run: ")
    return Finding("warn" if bundle.manifest.engines else "absent", text, fix)


def _facts(
    context: CheckContext, backend: EngineBackend
) -> tuple[str, DeviceFacts] | None:
    """Version of the library and the GPU; None where one of them is not there."""
    answer = context.python(_FACTS.format(module=MODULES[backend]))
    if answer.status:
        return None
    version, device = json.loads(answer.output.splitlines()[-1])
    return version, DeviceFacts(**device)
