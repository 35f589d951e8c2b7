"""A bundle as a model in a Triton server's repository."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import onnx

from derain.core.atomic_files import require_writable
from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, EngineError, ExportError
from derain.export.bundle_writer import replace_folder
from derain.export.triton_config import WARM_UP, check_config, config_text, make_config
from derain.export.triton_graph import read_graph, tensors_of
from derain.export.triton_options import TritonOptions
from derain.runtime.backends.triton import HASH
from derain.runtime.tensorrt.engine_record import EngineRecord

_log = logging.getLogger(__name__)
_CONFIG, _VERSION, _GOLDEN = "config.pbtxt", "1", "warmup"


def add_to_repository(bundle: Bundle, repository: Path, options: TritonOptions) -> Path:
    """Write `bundle` into a model repository, which is made where there is none.

    Returns:
        The model's folder.

    Raises:
        ConfigError: The model exists, or the bundle cannot be served by Triton.
        EngineError: There is no engine, where one was asked for.
        ExportError: The configuration does not fit the graph, or cannot be written.
    """
    name = options.name or bundle.folder.resolve().name
    folder = repository / name
    try:
        require_writable(folder)
        _check_place(folder, force=options.force)
    except OSError as error:
        reason = error.strerror
        raise ExportError(f"{folder} cannot be written: {reason}") from error
    manifest = bundle.manifest
    if manifest.states and not manifest.sizes.is_static:
        raise ConfigError(
            f"{bundle.folder} has a memory and takes {manifest.sizes}: Triton must "
            "know the size of its states; export it with one --size"
        )
    model, changed = read_graph(bundle.model_path, manifest)
    inputs = tensors_of(list(model.graph.input))
    outputs = tensors_of(list(model.graph.output))
    if options.engine and changed:
        raise ConfigError(
            f"{bundle.folder} has a memory: for Triton its graph must change, which an "
            "engine cannot; leave out --engine"
        )
    plan = _plan(bundle) if options.engine else None
    config = make_config(bundle, name, inputs, outputs, options)
    text = config_text(config)
    check_config(text, inputs, outputs)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=repository))
    except OSError as error:
        raise ExportError(
            f"{repository} cannot be written: {error.strerror}"
        ) from error
    try:
        (aside / _CONFIG).write_text(text, encoding="utf-8")
        (aside / _GOLDEN).mkdir()
        golden, _ = bundle.golden_frames()
        (aside / _GOLDEN / WARM_UP).write_bytes(golden.tobytes())
        version = aside / _VERSION
        version.mkdir()
        if plan is not None:
            shutil.copyfile(plan, version / "model.plan")
        elif changed:
            onnx.save(model, version / "model.onnx")
        else:
            shutil.copyfile(bundle.model_path, version / "model.onnx")
        aside.chmod(0o755)  # mkdtemp's folders are private
        replace_folder(aside, folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _log.info(f"{folder}: {_served(config)}")
    return folder


def _check_place(folder: Path, *, force: bool) -> None:
    if not folder.exists():
        return
    config = folder / _CONFIG
    ours = config.is_file() and HASH in config.read_text(
        encoding="utf-8", errors="replace"
    )
    if not ours:
        raise ConfigError(
            f"{folder} exists and was not made by derain-triton; give another --name"
        )
    known = (_CONFIG, _VERSION, _GOLDEN)
    if more := sorted(each.name for each in folder.iterdir() if each.name not in known):
        raise ConfigError(
            f"{folder} holds more than derain-triton made: {more[0]!r}; move it away, "
            "or give another --name"
        )
    if not force:
        raise ConfigError(
            f"{folder} exists; replace it with --force, or give another --name"
        )


def _plan(bundle: Bundle) -> Path:
    """The newest engine for TensorRT in the bundle; whether it fits, the server says.

    Raises:
        EngineError: There is none.
    """
    for fields in reversed(bundle.manifest.engines):
        try:
            record = EngineRecord.from_json(fields)
        except ValueError:
            continue  # derain-compile tells of it
        plan = bundle.folder / record.file
        if record.backend == "tensorrt" and plan.is_file():
            _log.info(f"{plan.name}: built for {record.built_for}")
            return plan
    raise EngineError(
        f"{bundle.folder} has no engine; run: derain-compile {bundle.folder}"
    )


def _served(config: object) -> str:
    text = str(config)
    if "sequence_batching" in text:
        return "a sequence for each camera, its memory stays with the server"
    if "dynamic_batching" in text:
        return "frames of several cameras at once"
    return "one frame at a time"
