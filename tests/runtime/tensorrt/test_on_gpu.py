"""On a GPU: an engine that is really compiled, loaded and run."""

import subprocess
import sys
from contextlib import ExitStack, closing

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.runtime.backends import open_backend
from derain.runtime.cuda.probe import probe
from derain.runtime.derainer import Derainer
from derain.runtime.tensorrt.library import open_api
from support.bundles import infer_once

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]

RTX_CAPABILITIES = {"7.5", "8.0", "8.6", "8.9", "12.0"}  # of TensorRT-RTX 1.7


def is_for_rtx():
    return probe().compute_capability in RTX_CAPABILITIES


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def library(request):
    """Name of a library that can run here; skips with the reason why it cannot."""
    try:
        probe()
        open_api(request.param)
    except EngineError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def compiled(library, make_bundle, make_bundle_with_states, tmp_path, monkeypatch):
    """Makes and compiles a bundle: a convolution, of these sizes; or with states."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(sizes, states=False):
        if states:
            folder = make_bundle_with_states(sizes)
        else:
            folder = make_bundle("conv", sizes)
        command = [
            sys.executable,
            "-m",
            "derain.runtime.tensorrt.compile_cli",
            str(folder),
        ]
        result = subprocess.run(
            [*command, "--backend", library],
            capture_output=True,
            text=True,
            check=False,
        )
        why = result.stderr if result.returncode else None
        if why is None:
            try:
                Derainer(Bundle.open(folder), library).close()
            except EngineError as error:
                why = str(error)
        if why and library == "tensorrt-rtx" and not is_for_rtx():
            pytest.skip(f"this GPU is none for TensorRT-RTX, which says: {why}")
        assert not why
        return Bundle.open(folder)

    return make


def expected(bundle, frames):
    with closing(open_backend("onnxruntime", bundle)) as backend:
        return [infer_once(backend, frame[None])[0].copy() for frame in frames]


def assert_close(got, wanted):
    # The last step drops what is after the point: 1 level for the smallest difference,
    # and products may be rounded to TF32.
    assert len(got) == len(wanted)
    for index, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert np.abs(a.astype(int) - b).max() <= 1, f"frame {index}"


@pytest.mark.parametrize("sizes", ["64x48", "32x32,64x48,128x96"])
def test_an_engine_derains_as_onnxruntime_does(compiled, library, sizes):
    bundle = compiled(sizes)
    shape = (6, 48, 64, 3)
    frames = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    wanted = expected(bundle, frames)
    with closing(Derainer(bundle, library)) as derainer:
        assert_close([derainer.derain(frame).copy() for frame in frames], wanted)
        assert_close([frame.copy() for frame in derainer.stream(frames)], wanted)
        assert_close([frame.copy() for frame in derainer.stream(frames)], wanted)
        assert derainer.times.compute_ms > 0
        assert list(derainer.notes) == []  # the graphs were captured


@pytest.mark.parametrize("sizes", ["64x48", "32x32,64x48,128x96"])
def test_an_engine_remembers_as_onnxruntime_does(compiled, library, sizes):
    bundle = compiled(sizes, states=True)
    shape = (2, 16, 1, 48, 64, 3)
    cameras = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with ExitStack() as stack:
        reference, backend = (
            stack.enter_context(closing(open_backend(name, bundle)))
            for name in ("onnxruntime", library)
        )
        wanted, got = (
            [(each, each.new_memory()) for _ in cameras]
            for each in (reference, backend)
        )
        for frames in zip(*cameras, strict=True):
            for frame, right, ours in zip(frames, wanted, got, strict=True):
                derained = [
                    each.infer(frame, memory).copy() for each, memory in (right, ours)
                ]
                assert_close(derained[:1], derained[1:])
        for frames, (_, right), (_, ours) in zip(cameras, wanted, got, strict=True):
            ours.reset()
            right.reset()
            assert_close(
                [frame.copy() for frame in backend.stream(frames, ours)],
                [frame.copy() for frame in reference.stream(frames, right)],
            )
        assert list(backend.notes) == []  # the graphs were captured


def test_sizes_of_a_range_may_alternate(compiled, library):
    bundle = compiled("32x32,64x48,128x96")
    generator = np.random.default_rng(0)
    shapes = [(32, 32, 3), (96, 128, 3)] * 3 + [(96, 128, 3)] * 5
    frames = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    wanted = expected(bundle, frames)
    with closing(Derainer(bundle, library)) as derainer:
        assert_close([frame.copy() for frame in derainer.stream(frames)], wanted)
        assert_close([derainer.derain(frame).copy() for frame in frames], wanted)


def test_nothing_is_left_on_the_gpu(compiled, library):
    runtime = pytest.importorskip("cuda.bindings.runtime")
    bundle = compiled("64x48")

    def free_bytes():
        _, free, _ = runtime.cudaMemGetInfo()
        return free

    def rounds(count):
        for _ in range(count):
            Derainer(bundle, library).close()

    rounds(3)  # libraries load what stays
    before = free_bytes()
    rounds(20)
    assert before - free_bytes() < 20 * 64 * 48 * 3
