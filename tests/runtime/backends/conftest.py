"""The TensorRT backend on a device that records, with an engine that stands in."""

import contextlib
import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from derain.core.bundle import MODEL_FILE
from derain.core.manifest import FILE_NAME
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt.engine_record import PLATFORM, EngineRecord

HERE = Path(__file__).parent
PLAN = b"plan"


def _load(path):
    name = f"derain_tests_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def recording():
    """The module with `RecordingDevice` and `MisuseError`."""
    return _load(HERE.parent / "cuda" / "recording.py")


@pytest.fixture(scope="session")
def stand_in():
    """The module with `Library`."""
    return _load(HERE / "stand_in.py")


@pytest.fixture(scope="session")
def make_record():
    """The record of an engine for TensorRT 10.3.0 on an Orin."""

    def make(sizes="64x48", **changes):
        fields = {
            "file": "tensorrt-10.3.0-sm87-0a1b2c3d.plan",
            "sha256": hashlib.sha256(PLAN).hexdigest(),
            "bytes": len(PLAN),
            "backend": "tensorrt",
            "version": "10.3.0",
            "platform": PLATFORM,
            "gpu": "Orin",
            "compute_capabilities": ("8.7",),
            "driver": "12.6",
            "cuda": "12.6",
            "onnx_sha256": "1" * 64,
            "sizes": SizeRange.parse(sizes),
        }
        return EngineRecord(**{**fields, **changes})

    return make


@pytest.fixture
def opened(recording, stand_in, make_record):
    """Opens the backend: ``opened(order="lazy").backend``; closes it in the end."""
    from derain.runtime.tensorrt.engine_backend import TensorRtBackend
    from derain.runtime.tensorrt.loaded_engine import TensorRtEngine

    with contextlib.ExitStack() as stack:

        def open_it(sizes="64x48", name="tensorrt", change=None, **options):
            device = recording.RecordingDevice(**options)
            library = stand_in.Library(device, name)
            if change is not None:
                change(library)
            engine = TensorRtEngine(library, make_record(sizes), PLAN)
            backend = TensorRtBackend(device, engine, SizeRange.parse(sizes).optimum)
            stack.callback(backend.close)
            backend.device, backend.library = device, library  # for the test to see
            return backend

        yield open_it


@pytest.fixture(scope="session")
def frames():
    """Makes different frames: ``frames(5)``, each `(1, H, W, 3)`."""

    def make(count, size=Size(64, 48)):  # noqa: B008 - immutable
        generator = np.random.default_rng(7)
        shape = (count, 1, size.height, size.width, 3)
        return list(generator.integers(0, 256, shape, dtype=np.uint8))

    return make


@pytest.fixture
def compiled(bundles, tmp_path, make_record):
    """A bundle whose golden frame is "255 - x", with an engine in it."""

    def make(**changes):
        source = bundles("wrong-golden")
        folder = shutil.copytree(source, tmp_path / "compiled")
        path = folder / FILE_NAME
        manifest = json.loads(path.read_text())
        digest = manifest["files"][MODEL_FILE]
        record = make_record(**{"onnx_sha256": digest, **changes})
        manifest["engines"] = [record.to_json()]
        path.write_text(json.dumps(manifest))
        (folder / record.file).write_bytes(PLAN)
        return folder

    return make
