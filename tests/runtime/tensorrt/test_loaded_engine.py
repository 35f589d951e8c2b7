"""How an engine is loaded and run, with a module that stands in for TensorRT's."""

import pytest

from derain.core.errors import EngineError
from derain.core.sizes import Size
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.loaded_engine import TensorRtEngine
from support.recording_cuda import RecordingDevice
from support.tensorrt_stand_in import BOTH, Library, RuntimeCache


@pytest.fixture
def library():
    return Library(RecordingDevice())


def test_an_engine_that_loads(library, make_record):
    engine = TensorRtEngine(library, make_record(), b"plan")
    assert engine.description == "tensorrt 10.3.0"
    assert str(engine.sizes) == "64x48"
    assert library.alive == 3  # runtime, engine, context
    engine.close()
    engine.close()
    assert library.alive == 0


def test_host_code_is_allowed_for_version_compatible_engines_alone(
    library, make_record
):
    TensorRtEngine(library, make_record(), b"plan")
    assert not library.host_code_allowed
    TensorRtEngine(library, make_record(version_compatible=True), b"plan")
    assert library.host_code_allowed


def test_a_plan_that_does_not_load(library, make_record):
    library.messages.errors.append("an error of long ago")
    expected = (
        r"^tensorrt 10\.3\.0: tensorrt-\S+\.plan: loading it: "
        r"\[serialization\] magic tag is wrong$"
    )
    with pytest.raises(EngineError, match=expected) as caught:
        TensorRtEngine(library, make_record(), b"blan")
    assert library.alive == 0, "freed though the error is still held"
    del caught


def test_a_library_that_does_not_start(library, make_record):
    def refuse(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    library.trt.Runtime = refuse
    with pytest.raises(EngineError, match="starting the library: no reason given"):
        TensorRtEngine(library, make_record(), b"plan")


def test_too_little_memory_to_run(library, make_record):
    library.no_room = True
    with pytest.raises(EngineError, match=r"making room to run it: .*out of memory"):
        TensorRtEngine(library, make_record(), b"plan")
    assert library.alive == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda library: library.modes.update(derained="in"),
        lambda library: library.types.update(frame="float"),
    ],
    ids=["two inputs", "float"],
)
def test_an_engine_of_something_else(library, make_record, change):
    change(library)
    with pytest.raises(EngineError, match="wanted one uint8 frame in and one out"):
        TensorRtEngine(library, make_record(), b"plan")
    assert library.alive == 0


def _missing(library):
    for name in [name for name in library.modes if name.startswith(("state", "hea"))]:
        del library.modes[name]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            _missing,
            "frame, derained: it was compiled without states state_0, state_1, state_2",
        ),
        (lambda library: library.modes.pop("state_2_in"), "wanted one uint8 .* and ea"),
        (
            lambda library: library.modes.pop("health"),
            "state_3_out; wanted .* and each",
        ),
        (
            lambda library: library.types.update(state_2_out="float32"),
            "and each state in and out; compile it from the bundle with derain-compile",
        ),
    ],
    ids=["none", "an input less", "no health", "another type"],
)
def test_an_engine_with_other_states_than_its_record(make_record, change, why):
    library = Library(RecordingDevice(), states=BOTH)
    change(library)
    with pytest.raises(EngineError, match=why):
        TensorRtEngine(library, make_record(states=BOTH), b"plan")
    assert library.alive == 0


def test_an_engine_with_states_that_its_record_does_not_know(make_record):
    library = Library(RecordingDevice(), states=BOTH)
    with pytest.raises(
        EngineError, match=r"state_0_in.*wanted one uint8 frame in and o"
    ):
        TensorRtEngine(library, make_record(), b"plan")


def test_states_have_the_size_of_the_padded_frame(make_record):
    library = Library(RecordingDevice(), states=BOTH)
    record = make_record("64x48,64x48,128x96", states=BOTH)
    engine = TensorRtEngine(library, record, b"plan", padded=lambda size: Size(128, 96))
    wanted = [(1, 48, 64, 3)] * 2 + [(1, 4, 48, 64), (1, 2, 96, 128)]
    assert engine.state_shapes(Size(64, 48)) == wanted
    engine.set_size(Size(64, 48))
    assert list(engine._context.shapes.values()) == [(1, 48, 64, 3), *wanted]
    engine = TensorRtEngine(library, record, b"plan", padded=lambda size: Size(65, 49))
    with pytest.raises(
        EngineError, match="frames of 64x48: state_2: height/2 of 65x49"
    ):
        engine.set_size(Size(64, 48))


def test_a_failure_to_run_says_what_the_library_said(opened, frames):
    backend = opened()
    backend.library.enqueue_fails = True
    with pytest.raises(EngineError, match=r"\.plan: running it: .* it went wrong$"):
        backend.infer(frames(1)[0], backend.own)
    with pytest.raises(EngineError, match=r"it went wrong$"):  # once, not twice
        list(backend.stream(frames(3), backend.own))
    assert not backend.device.pending
    backend.library.enqueue_fails = False
    backend.infer(frames(1)[0], backend.own)


def test_a_size_that_is_refused_is_set_again(opened, frames):
    backend = opened("32x32,64x48,128x96")
    small, large = frames(1, Size(32, 32))[0], frames(1, Size(128, 96))[0]
    backend.infer(small, backend.own)
    backend.library.takes_shapes = False
    with pytest.raises(EngineError, match="frames of 128x96: no reason given"):
        backend.infer(large, backend.own)
    backend.library.takes_shapes = True
    assert (backend.infer(small, backend.own) == 255 - small).all()


def test_use_after_close(library, make_record):
    engine = TensorRtEngine(library, make_record(), b"plan")
    engine.close()
    with pytest.raises(EngineError, match="is used after it was closed"):
        engine.set_size(Size(64, 48))


def test_tensorrt_rtx_compiles_for_a_size_before_it_is_captured(opened):
    """It would compile beside the first frames, and a graph keep the slow kernels."""
    library = opened(name="tensorrt-rtx").library
    kernels = library.config.dynamic_shapes_kernel_specialization_strategy
    assert kernels == "EAGER"
    assert library.config.cuda_graph_strategy == "DISABLED"


def test_contexts_make_no_ranges_for_each_layer(opened):
    engine = opened()._engine
    assert engine._context.nvtx_verbosity == "NONE"


@pytest.fixture
def kernels(tmp_path):
    return CacheFile("kernels", tmp_path / "kernels.cache")


@pytest.fixture
def rtx_library():
    return Library(RecordingDevice(), "tensorrt-rtx")


def test_tensorrt_rtx_compiles_once_and_not_at_each_start(
    rtx_library, make_record, kernels
):
    engine = TensorRtEngine(rtx_library, make_record(), b"plan", kernels)
    assert rtx_library.cache.loaded is None
    engine.set_size(Size(64, 48))
    engine.keep_kernels()
    assert kernels.load() == b"1x48x64x3"
    engine.close()
    rtx_library.cache = RuntimeCache()
    TensorRtEngine(rtx_library, make_record(), b"plan", kernels).close()
    assert rtx_library.cache.loaded == b"1x48x64x3"


def test_kernels_are_written_only_when_there_are_more(
    rtx_library, make_record, kernels, monkeypatch
):
    engine = TensorRtEngine(rtx_library, make_record(), b"plan", kernels)
    engine.set_size(Size(64, 48))
    saved = []
    monkeypatch.setattr(CacheFile, "save", lambda self, data: saved.append(data))
    engine.keep_kernels()
    engine.close()
    assert len(saved) == 1


def test_kernels_that_cannot_be_kept_are_a_note(
    rtx_library, make_record, tmp_path, said
):
    (tmp_path / "file").touch()
    nowhere = CacheFile("kernels", tmp_path / "file" / "kernels.cache")
    engine = TensorRtEngine(rtx_library, make_record(), b"plan", nowhere)
    engine.set_size(Size(64, 48))
    engine.close()
    assert rtx_library.alive == 0
    assert any("the next start will compile again" in line for line in said())


def test_damaged_kernels_are_compiled_again(rtx_library, make_record, kernels, said):
    kernels.path.write_bytes(b"damaged")
    TensorRtEngine(rtx_library, make_record(), b"plan", kernels).close()
    assert rtx_library.cache.loaded is None
    assert "is damaged, or of another program: ignored" in said()[0]
