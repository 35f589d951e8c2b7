"""Frames of a network with a memory: in order, in clips of one scene."""

import numpy as np
import pytest

from derain.calibration.clips import CLIP, Picture, clip_length, places, runs
from derain.calibration.frame_store import FrameStore
from derain.calibration.pairs import CLIPS, read_held_out
from derain.core.errors import CalibrationError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.states import FRAME_SHAPE, StateSpec
from derain.core.synthetic.rain import rainy_clip

SIZE = Size(48, 32)
HIDDEN = StateSpec(name="state_0", shape=(1, 2, "height", "width"), dtype="float32")
EARLIER = StateSpec(name="state_0", shape=FRAME_SHAPE, dtype="uint8", start="frame")
MEMORY = GraphMemory((HIDDEN,))


@pytest.fixture(scope="module")
def clip():
    """Thirty frames of a street in the rain."""
    return [rainy for rainy, _ in rainy_clip(SIZE, 30, seed=1)]


@pytest.fixture(scope="module")
def elsewhere(clip):
    """The same upside down and dark at the top: another scene."""
    return [np.ascontiguousarray(255 - frame[::-1]) for frame in clip]


def lengths(images, length=CLIP, numbers=None):
    numbers = numbers or range(len(images))
    pictures = [
        Picture(str(n), n, image) for n, image in zip(numbers, images, strict=True)
    ]
    return [len(run) for run in runs(pictures, length)]


def test_runs_end_at_a_cut_at_a_gap_and_at_another_size(clip, elsewhere):
    assert lengths(clip[:20]) == [8, 8, 4]
    assert lengths([*clip[:3], *elsewhere[:5]]) == [3, 5]
    assert lengths(clip[:4], numbers=[0, 1, 30, 31]) == [2, 2]
    assert lengths(clip[:4], numbers=[0, 1, 4, 5]) == [4]  # a few dropped
    assert lengths([*clip[:2], clip[2][:16]]) == [2, 1]
    assert lengths([*clip[:2], *elsewhere[:2]], length=1) == [1] * 4


def test_the_last_half_of_a_clip_counts():
    assert places(4, MEMORY) == [
        (MEMORY, False),
        (None, False),
        (None, True),
        (None, True),
    ]
    late = GraphMemory((HIDDEN,), look_ahead=3)
    assert [judged for _, judged in places(4, late)] == [False] * 3 + [True]
    assert places(1, NO_MEMORY) == [(NO_MEMORY, True)]


def test_a_clip_is_twice_as_long_as_a_window():
    assert clip_length(NO_MEMORY) == 1
    assert clip_length(MEMORY) == CLIP
    assert clip_length(GraphMemory((EARLIER,) * 6)) == 14


def collected(images, **options):
    store = FrameStore()
    options = {"dry": False, "count": 16, "held_out": 4, "memory": MEMORY} | options
    try:
        store.collect(images, SIZE, **options)
    except BaseException:
        store.close()
        raise
    return store


def in_clips(frames):
    """Numbers of the frames of each clip."""
    clips = []
    for stored in frames:
        if stored.start is not None:
            clips.append([])
        clips[-1].append(int(stored.name.removeprefix("frame ")))
    return clips


def test_frames_of_a_clip_stay_in_order_and_its_memory_begins_once(clip):
    with collected(clip, count=24) as store:
        clips = in_clips(store.chosen) + in_clips(store.held_out)
        assert sorted(map(len, clips)) == [6, 8, 8, 8]
        assert in_clips(store.held_out) == [[*range(24, 30)]]
        assert all(c == list(range(c[0], c[0] + len(c))) for c in clips)
        assert [s.judged for s in store.held_out] == [False] * 3 + [True] * 3
        firsts = [shot.start for shot in store.shots()]
        assert firsts.count(MEMORY) == 3
        assert store.seen == 30


def test_a_cut_begins_a_clip(clip, elsewhere):
    with collected([*clip[:5], *elsewhere[:4]]) as store:
        clips = in_clips(store.chosen) + in_clips(store.held_out)
        assert sorted(clips) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_one_short_clip_serves_for_both(clip):
    with collected(clip[:6]) as store:
        assert in_clips(store.chosen) == [[0, 1, 2]]
        assert in_clips(store.held_out) == [[3, 4, 5]]


def test_pictures_in_no_order_are_one_line(clip, elsewhere):
    mixed = [x for pair in zip(clip, elsewhere, strict=True) for x in pair][:8]
    with pytest.raises(CalibrationError, match="0 different clips of 2 frames in ord"):
        collected(mixed)


def test_a_long_clip_is_thinned_by_clips(clip):
    frames = [np.roll(frame, k, axis=1) for k in range(0, 48, 4) for frame in clip]
    with collected(frames, count=8, held_out=4) as store:
        assert (len(store.chosen), len(store.held_out)) == (8, 8)
        assert len(list(store.chosen[0].path.parent.iterdir())) <= 4 * CLIP


def test_rain_falls_through_a_dry_clip_and_look_ahead_owes_earlier_frames(clip):
    late = GraphMemory((HIDDEN,), look_ahead=1)
    with collected(clip, dry=True, memory=late) as store:
        for stored in store.held_out:
            number = int(stored.name.removeprefix("frame "))
            frame = stored.held_out()
            owed = number if stored.start is not None else number - 1
            assert np.array_equal(frame.clean, clip[owed])
            assert not np.array_equal(frame.rainy, clip[number])


def test_the_digest_knows_where_clips_begin(clip):
    with collected(clip[:16]) as store, collected(clip[:16], memory=NO_MEMORY) as other:
        store.held_out[:] = other.held_out
        other.chosen[:] = store.chosen
        before = other.digest
        other.chosen[0] = other.chosen[1]
        assert store.digest == before != other.digest


def test_pairs_of_a_network_with_a_memory_are_clips(clip, elsewhere, tmp_path):
    def written(name, rainy):
        for part, frames in (("rain", rainy), ("clean", clip)):
            (tmp_path / name / part).mkdir(parents=True)
            for k, frame in enumerate(frames):
                write_picture(tmp_path / name / part / f"{k:02}.png", frame)
        return tmp_path / name

    found = read_held_out(written("video", clip), SIZE, MEMORY)
    assert sum(frame.start is not None for frame in found) == CLIPS
    assert sum(frame.judged for frame in found) == 4 + 4 + 4 + 3
    assert np.array_equal(found[9].clean, clip[9])
    mixed = [clip[k] if k % 2 else elsewhere[k] for k in range(len(clip))]
    with pytest.raises(CalibrationError, match="no 2 pairs in order"):
        read_held_out(written("mixed", mixed), SIZE, MEMORY)
