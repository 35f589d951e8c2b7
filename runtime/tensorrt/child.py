"""The process that native code runs in: ``python -m derain.runtime.tensorrt.child``.

It reads one request, a line of JSON, from standard input and writes events, lines of
JSON, to standard output:

    {"started": {...}}                  the library and the device
    {"progress": [0.25, "phase"]}
    {"built": {...}}                    the plan is written; what follows may fail
    {"result": {...}}  or  {"error": "one line"}

What the library says goes to standard error. A plan goes to the file whose descriptor
is in the request. When standard input is closed, the parent is gone: the process ends.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from derain.core.errors import DerainError, EngineError
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt import versions
from derain.runtime.tensorrt.build import build, inspect
from derain.runtime.tensorrt.build_options import BuildRequest
from derain.runtime.tensorrt.engine_bytes import build_and_list
from derain.runtime.tensorrt.library import Api, open_api
from derain.runtime.tensorrt.network_definition import new_builder, parse

Emit = Callable[[Mapping[str, Any]], None]

_PROGRESS_PERIOD_S = 0.1


def main() -> None:
    """Answer one request."""
    # Native code may write to standard output; the events go where it cannot.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    request = json.loads(_read_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def emit(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    try:
        emit({"result": _ACTIONS[request["action"]](request, emit)})
    except DerainError as error:
        emit({"error": str(error)})
    except MemoryError:
        emit({"error": "not enough memory to build the engine"})
    # Native threads and libraries have nothing left to do; some crash when they end.
    sys.stderr.flush()
    os._exit(0)


def _check(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Parse the model; the result lists what is refused, or why there is no parser."""
    try:
        api = open_api(request["backend"])
        _device(api, needed=False)
        builder = new_builder(api)
    except DerainError as error:
        return {"unavailable": str(error)}
    network, refused = parse(api, builder, Path(request["model"]))
    ends = min(network.num_inputs, network.num_outputs)
    if not (refused or (network.num_layers and ends)):
        raise EngineError(
            f"{request['model']} is no frame-to-frame graph: it has "
            f"{network.num_inputs} inputs, {network.num_layers} layers and "
            f"{network.num_outputs} outputs"
        )
    return {
        "version": api.version,
        "layers": network.num_layers,
        "refused": [node.to_json() for node in refused],
    }


def _build(fields: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Build an engine; the result is a `BuildFacts`.

    The plan is written and told before anything else is done with it.
    """
    request = BuildRequest.from_json(fields["build"])
    api = open_api(request.backend)
    device = _device(api, needed=not request.options.compute_capabilities)
    emit({"started": {"version": api.version, "device": device and asdict(device)}})
    shown = -_PROGRESS_PERIOD_S

    def report(part: float, phase: str) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PROGRESS_PERIOD_S:
            shown = now
            emit({"progress": [round(part, 4), phase]})

    plan, facts = build(api, request, device, report)
    try:
        with os.fdopen(fields["plan_descriptor"], "wb") as file:
            file.write(plan)
    except OSError as error:
        raise EngineError(
            f"the engine of {len(plan) / 1e6:.1f} MB cannot be written: "
            f"{error.strerror}"
        ) from error
    emit({"built": facts.to_json()})
    compatible = request.options.version_compatible
    return inspect(api, plan, facts, version_compatible=compatible).to_json()


def _kernels(fields: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Build an engine that nobody keeps; the result lists its kernels."""
    request = BuildRequest.from_json(fields["build"])
    api = open_api(request.backend)
    _device(api, needed=not request.options.compute_capabilities)
    return build_and_list(api, request)


_ACTIONS = {"check": _check, "build": _build, "kernels": _kernels}


def _device(api: Api, *, needed: bool) -> DeviceFacts | None:
    """The GPU; None where there is none and it is not needed.

    CUDA is asked first: without a GPU TensorRT only says that a factory failed.
    """
    from derain.runtime.cuda.probe import probe

    try:
        return probe()
    except DerainError as error:
        if versions.needs_gpu(api):
            raise
        if needed:
            raise EngineError(
                f"{error}; to build for a GPU that is not here, give its "
                "--compute-capability, such as 8.6"
            ) from error
        return None


def _read_line() -> bytes:
    """The first line of standard input; nothing after it is taken."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(1)
        line += byte
    return line


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
