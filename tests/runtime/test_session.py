"""Sessions of a derainer: what they remember, and frames of the future."""

import contextlib

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, ShapeError, StateError
from derain.core.sizes import Size
from derain.runtime.derainer import Derainer, load
from support.memory_network import Fading, Seeing, clip_of

SIZE = Size(64, 48)
FADING, SEEING = Fading("64x48"), Seeing("32x32,64x48,128x96")
WHITE = np.full((48, 64, 3), 255, np.uint8)


@pytest.fixture
def opened(tmp_path):
    """Opens a network on ONNX Runtime, with fields of its bundle."""
    with contextlib.ExitStack() as stack:

        def open_network(network, golden=None, **fields):
            golden = clip_of(4, SIZE, seed=9) if golden is None else golden
            folder = network.bundle(tmp_path / "bundle", golden, **fields)
            return stack.enter_context(load(folder, "onnxruntime", threads=1))

        yield open_network


def copies(frames):
    return [frame.copy() for frame in frames if frame is not None]


def assert_same(got, wanted):
    np.testing.assert_array_equal(got, wanted)


def test_calls_remember_and_a_stream_starts_afresh(opened):
    model, clip = opened(FADING), clip_of(6, SIZE)
    wanted = FADING.derain(clip)
    assert_same(copies(map(model, clip[:3])), wanted[:3])
    assert_same(copies(map(model.derain, clip[3:])), wanted[3:])
    assert_same(copies(model.stream(clip)), wanted)
    assert_same(copies(map(model, clip)), wanted)  # nor does it leave anything
    model.reset()
    assert_same(copies(map(model, clip)), wanted)


def test_a_stream_that_is_left_leaves_nothing(opened):
    model, clip = opened(FADING), clip_of(6, SIZE)
    with contextlib.closing(model.stream(clip)) as stream:
        next(stream)
        next(stream)
    assert_same(copies(map(model, clip)), FADING.derain(clip))


def test_sessions_are_cameras_on_one_network(opened):
    model = opened(FADING)
    clips = [clip_of(5, SIZE, seed) for seed in range(3)]
    with model.session() as first, model.session() as second:
        sessions = [model, first, second]
        got = [
            copies(
                session(frame) for session, frame in zip(sessions, frames, strict=True)
            )
            for frames in zip(*clips, strict=True)
        ]
        first.reset()
        assert_same(copies(first.stream(clips[1])), FADING.derain(clips[1]))
    wanted = [FADING.derain(clip) for clip in clips]
    assert_same(got, list(zip(*wanted, strict=True)))


def test_a_session_checks_its_frames(opened):
    session = opened(FADING).session()
    with pytest.raises(ShapeError, match="the bundle takes 64x48"):
        session(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"wanted \(H, W, 3\) uint8 BGR"):
        list(session.stream([np.zeros((48, 64), np.uint8)]))


def test_a_closed_session_says_so_and_the_others_go_on(opened):
    model, clip = opened(FADING), clip_of(3, SIZE)
    with model.session() as session:
        session(clip[0])
    session.close()
    session.reset()
    with pytest.raises(EngineError, match="this memory is closed"):
        session(clip[0])
    assert_same(copies(map(model, clip)), FADING.derain(clip))


def test_closing_the_derainer_closes_its_sessions(opened):
    model, frame = opened(FADING), clip_of(1, SIZE)[0]
    session = model.session()
    session(frame)
    stream = session.stream([frame] * 3)
    next(stream)
    model.close()
    model.close()
    for use in (lambda: session(frame), lambda: next(stream), lambda: model(frame)):
        with pytest.raises(EngineError):
            use()


def test_a_bad_frame_begins_another_clip(opened):
    model, clip = opened(FADING), clip_of(4, SIZE)
    for _ in range(2):
        list(map(model, clip[:2]))
        with pytest.raises(StateError):
            model(WHITE)
        assert_same(copies(map(model, clip)), FADING.derain(clip))
    with pytest.raises(StateError):
        list(model.stream([*clip, WHITE]))


def test_look_ahead_is_late_by_a_frame_and_flushed(opened):
    model, clip = opened(SEEING), clip_of(5, SIZE)
    wanted = SEEING.derain(clip)
    for _ in range(2):
        assert model(clip[0]) is None
        for frame, before in zip(clip[1:], wanted, strict=False):
            assert_same(model.derain(frame), before)
        (last,) = model.flush()
        assert_same(last, wanted[-1])
        assert list(model.flush()) == []


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_as_many_frames_come_out_as_go_in(opened, count):
    model, clip = opened(SEEING), clip_of(count, SIZE)
    assert_same(copies(model.stream(clip)), SEEING.derain(clip) if clip else [])
    got = copies(map(model, clip)) + copies(model.flush())
    assert_same(got, SEEING.derain(clip) if clip else [])


def test_look_ahead_over_a_change_of_size(opened):
    model = opened(SEEING)
    clips = [clip_of(3, Size(64, 48)), clip_of(1, Size(32, 32)), clip_of(2, SIZE)]
    got = copies(model.stream(frame for clip in clips for frame in clip))
    wanted = [frame for clip in clips for frame in SEEING.derain(clip)]
    for one, other in zip(got, wanted, strict=True):
        assert_same(one, other)
    # Calls cannot know that a frame was the last of its size: `flush` is for that.
    got = copies(map(model, (frame for clip in clips for frame in clip)))
    for one, other in zip(got, [*wanted[:2], wanted[4]], strict=True):
        assert_same(one, other)


def test_look_ahead_with_a_buffer_that_is_used_again_and_a_source_that_fails(opened):
    model, clip, buffer = opened(SEEING), clip_of(4, SIZE), np.empty_like(WHITE)

    def camera():
        for frame in clip:
            buffer[:] = frame
            yield buffer
        buffer[:] = 0
        raise OSError("the cable was pulled")

    got = []
    with pytest.raises(OSError, match="cable"):
        got.extend(frame.copy() for frame in model.stream(camera()))
    assert_same(got, SEEING.derain(clip))


def test_nothing_is_left_to_flush_after_a_reset(opened):
    model = opened(SEEING)
    model(clip_of(1, SIZE)[0])
    model.reset()
    assert list(model.flush()) == []


@pytest.mark.parametrize("network", [FADING, SEEING], ids=["states", "look-ahead"])
def test_every_frame_of_the_golden_clip_is_compared(opened, network):
    golden = clip_of(4, SIZE, seed=9)
    assert opened(network, golden).golden_psnr_db == np.inf


@pytest.mark.parametrize("wrong", range(4))
def test_a_golden_clip_that_comes_out_otherwise_is_found(opened, wrong):
    golden = clip_of(4, SIZE, seed=9)
    expected = FADING.derain(golden)
    expected[wrong] = 255 - expected[wrong]
    with pytest.raises(EngineError, match=r"self-test failed: .* dB from the expected"):
        opened(FADING, golden, expected=expected)


def test_a_golden_clip_that_is_not_finite_is_one_line(opened):
    golden = [*clip_of(3, SIZE), WHITE]
    with pytest.raises(EngineError, match=r"^self-test failed: a state .*finite"):
        opened(FADING, golden, expected=[*FADING.derain(golden[:3]), WHITE])


def test_the_golden_clip_is_forgotten(tmp_path):
    golden, clip = clip_of(4, SIZE, seed=9), clip_of(3, SIZE)
    bundle = Bundle.open(FADING.bundle(tmp_path / "bundle", golden))
    with Derainer(bundle, "onnxruntime") as model:
        assert_same(copies(map(model, clip)), FADING.derain(clip))
