"""Small pictures to train and measure on, and the shared data where it is."""

import contextlib
import resource

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs derain[train]")

from derain.core.bundle import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL_FILE, sha256
from derain.core.manifest import Golden, Manifest
from derain.core.pictures import write_picture
from derain.core.sizes import Size, SizeRange
from derain.training.config import config_for, with_changes
from derain.training.data import Pair
from derain.training.run import train


def _pair(index, height=40, width=48):
    random = np.random.default_rng(index)
    clean = random.integers(0, 200, (height, width, 3), np.uint8)
    clean = clean // 2 + np.arange(width, dtype=np.uint8)[:, None]
    streaks = random.random((height, width, 1)) < 0.1
    return Pair(f"{index}", np.where(streaks, np.uint8(255), clean), clean)


@pytest.fixture
def pairs():
    return [_pair(index) for index in range(4)]


@pytest.fixture
def pairs_folder(tmp_path, pairs):
    """Side-by-side files: left half clean, right half rainy."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for pair in pairs:
        both = np.hstack([pair.clean, pair.rainy])
        write_picture(folder / f"{pair.name}.png", both)
    return folder


@pytest.fixture
def two_folders(tmp_path, pairs):
    """A folder with the folders ``rain`` and ``clean``."""
    for kind in ("rain", "clean"):
        (tmp_path / "video" / kind).mkdir(parents=True)
    for pair in pairs:
        write_picture(tmp_path / "video" / "rain" / f"{pair.name}.png", pair.rainy)
        write_picture(tmp_path / "video" / "clean" / f"{pair.name}.png", pair.clean)
    return tmp_path / "video"


def _write_identity(path, size):
    onnx = pytest.importorskip("onnx", reason="bundles need derain[export]")
    from onnx import TensorProto, helper

    shape = [1, *("HW" if size is None else (size.height, size.width)), 3]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["frame"], ["derained"])],
        "identity",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("derained", TensorProto.UINT8, shape)],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


@pytest.fixture
def identity_bundle(tmp_path):
    """Makes a bundle that changes nothing: of any size, or of the one given."""

    def make(size=None):
        folder = tmp_path / ("dynamic" if size is None else str(size))
        folder.mkdir()
        _write_identity(folder / MODEL_FILE, size)
        golden = size or Size(16, 12)
        for name in (GOLDEN_INPUT, GOLDEN_OUTPUT):
            picture = np.full((golden.height, golden.width, 3), 90, np.uint8)
            write_picture(folder / name, picture)
        sizes = SizeRange(Size(1, 1), golden, Size(999, 999))
        Manifest(
            model="qsnet",
            precision="fp32",
            target="any",
            sizes=sizes if size is None else SizeRange.static(size),
            golden=Golden(input=GOLDEN_INPUT, output=GOLDEN_OUTPUT, min_psnr_db=50.0),
            files={
                name: sha256(folder / name)
                for name in (MODEL_FILE, GOLDEN_INPUT, GOLDEN_OUTPUT)
            },
        ).write(folder)
        return folder

    return make


@pytest.fixture
def full_disk():
    """A context in which no file can grow beyond some bytes, as on a full disk."""

    @contextlib.contextmanager
    def of(most_bytes):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return of


@pytest.fixture
def finished_run(tmp_path, pairs_folder):
    """A run of two steps, in its folder."""
    config = with_changes(config_for("qsnet"), steps=2, crop=16, batch=2)
    train(config, [pairs_folder], None, tmp_path / "run", lambda line: None)
    return tmp_path / "run"
