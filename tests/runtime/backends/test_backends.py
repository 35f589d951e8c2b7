import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, MissingDependencyError
from derain.core.sizes import Size
from derain.runtime.backends import BACKENDS, open_backend
from support.bundles import infer_once
from support.memory_network import Fading, clip_of


@pytest.mark.parametrize("name", BACKENDS)
def test_every_row_names_a_factory(name):
    row = BACKENDS[name]
    module = import_module(f"derain.runtime.{row.module}")
    assert callable(getattr(module, row.factory))
    assert callable(getattr(module, row.check))
    assert row.summary


def test_cuda_and_tensorrt_are_imported_only_when_used():
    code = (
        "import sys, derain.runtime.tensorrt.open_engine\n"
        "import derain.runtime.cuda.pycuda_device\n"
        "import derain.runtime.tensorrt.child, derain.runtime.tensorrt.compile\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    loaded = set(result.stdout.split())
    assert "derain" in loaded
    assert loaded.isdisjoint({"cuda", "pycuda", "tensorrt", "tensorrt_rtx"})


@pytest.mark.parametrize("name", BACKENDS)
def test_every_row_derains_or_says_why_not(name, bundles, image):
    try:
        backend = open_backend(name, Bundle.open(bundles("darken")))
    except (EngineError, MissingDependencyError) as error:
        pytest.skip(str(error))
    got = infer_once(backend, image()[None])
    np.testing.assert_array_equal(got[0], image() >> 1)
    backend.close()
    backend.close()


def test_a_provider_that_falls_back_is_an_error(bundles, monkeypatch):
    """ONNX Runtime lists CUDA without a GPU, and runs on the processor in silence."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: session(
            path, options, providers=["CPUExecutionProvider"]
        ),
    )
    with pytest.raises(
        EngineError,
        match="onnxruntime runs on CPUExecutionProvider, wanted CUDAExecutionProvider",
    ):
        open_backend("onnxruntime-cuda", Bundle.open(bundles("darken")))


def test_a_failure_of_the_engine_is_one_line(bundles, image):
    backend = open_backend("onnxruntime", Bundle.open(bundles("darken")))
    with pytest.raises(EngineError, match=r"^onnxruntime failed: .*") as caught:
        infer_once(backend, image(Size(8, 8))[None])
    assert "\n" not in str(caught.value)
    backend.close()


def test_onnxruntime_streams_in_order_and_says_how_long_it_took(bundles, image):
    backend = open_backend("onnxruntime", Bundle.open(bundles("darken")))
    assert backend.times is None
    frames = [image(shift=shift)[None] for shift in range(4)]
    for frame, derained in zip(
        frames, backend.stream(frames, backend.new_memory()), strict=True
    ):
        np.testing.assert_array_equal(derained, frame >> 1)
        times = backend.times
        assert times.compute_ms > 0
        assert (times.upload_ms, times.download_ms) == (0, 0)
    assert not backend.notes
    backend.close()


@pytest.mark.gpu
def test_the_cuda_provider_agrees_with_the_processor(bundles, image):
    """On a GPU with onnxruntime-gpu; "slow" is pooling, which both can do."""
    bundle = Bundle.open(bundles("slow"))
    try:
        gpu = open_backend("onnxruntime-cuda", bundle)
    except EngineError as error:
        pytest.skip(str(error))
    cpu = open_backend("onnxruntime", bundle)
    np.testing.assert_array_equal(
        infer_once(gpu, image()[None]), infer_once(cpu, image()[None])
    )
    assert gpu.times.upload_ms > 0
    np.testing.assert_array_equal(
        infer_once(gpu, image()[None]), infer_once(cpu, image()[None])
    )
    gpu.close()
    cpu.close()


@pytest.mark.gpu
def test_states_on_the_cuda_provider_agree_with_numpy(tmp_path):
    """On a GPU with onnxruntime-gpu: two streams, the second one after a reset."""
    network, clip = Fading("61x45", multiple_of=4), clip_of(6, Size(61, 45))
    bundle = Bundle.open(network.bundle(tmp_path / "bundle", clip))
    try:
        backend = open_backend("onnxruntime-cuda", bundle)
    except EngineError as error:
        pytest.skip(str(error))
    memories = [backend.new_memory(), backend.new_memory()]
    for _ in range(2):
        for frame, wanted in zip(clip, network.derain(clip), strict=True):
            for memory in memories:
                got = backend.infer(frame[None], memory)[0]
                assert np.abs(got.astype(int) - wanted).max() <= 1
        for memory in memories:
            memory.reset()
    backend.close()
