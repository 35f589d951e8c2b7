"""A network with memory in a run: what it is fed, and when it forgets."""

import time
from fractions import Fraction
from itertools import chain

import pytest

from derain.core.errors import EngineError, MediaError
from derain.core.sizes import Size, SizeRange
from derain.runtime.pipeline.inference import Inference
from derain.runtime.pipeline.loop_options import LoopOptions
from derain.runtime.pipeline.scene_cut import SceneCut
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame

OVERLAP = pytest.mark.parametrize("overlap", [False, True], ids=["step", "stream"])
LOOK_AHEAD = pytest.mark.parametrize("look_ahead", [0, 1, 2])


class Gate:
    """Dry between two levels of frames; looks at every third of them."""

    rain = 1.0

    def __init__(self, dry_from, rain_from):
        self.dry_from, self.rain_from = dry_from, rain_from
        self.dry, self._count = False, 0

    def needs_network(self):
        self._count += 1
        return not self.dry or self._count % 3 == 0

    def saw(self, rainy, derained):
        self.dry = self.dry_from <= rainy[0, 0, 0] < self.rain_from


class Patience:
    """A deadline under which the frames in `late` have no time for the network."""

    bound_s = 1e9

    def __init__(self, late):
        self.late, self.told = iter(late), []

    def allows(self, age_s):
        return not next(self.late)

    def derained(self, seconds):
        self.told.append(seconds)


@pytest.fixture
def statistics():
    return Statistics()


@pytest.fixture
def run(statistics, fakes):
    """Pictures through an `Inference`; every frame is counted when it is over."""

    def call(derainer, pictures, *, indices=None, **options):
        def frames():
            for index, picture in enumerate(pictures):
                at = index if indices is None else indices[index]
                statistics.count("captured")
                yield Frame(picture, at, Fraction(at, 25))

        results = list(Inference(derainer, statistics, **options).derained(frames()))
        assert fakes.adds_up(statistics)
        return results

    return call


def resets(statistics):
    return {cause: count for cause, count in statistics.resets.items() if count}


def told(results):
    """Level, frames remembered, newest level seen; of what passed by, its level."""
    return [
        int(frame.image[0, 0, 0])
        if frame.passed
        else (255 - int(frame.image[0, 0, 0]), *map(int, frame.image[0, 0, 1:]))
        for frame in results
    ]


@OVERLAP
@LOOK_AHEAD
def test_every_frame_comes_out_once_with_its_time(
    run, statistics, fakes, overlap, look_ahead
):
    derainer = fakes.Rememberer(look_ahead)
    results = run(derainer, fakes.scene(1, 8), overlap=overlap)
    assert told(results) == [(i, i + 1, min(i + look_ahead, 7)) for i in range(8)]
    assert [(frame.index, frame.time) for frame in results] == [
        (i, Fraction(i, 25)) for i in range(8)
    ]
    assert [int(frame.rainy[0, 0, 0]) for frame in results] == list(range(8))
    assert statistics["derained"] == 8
    assert resets(statistics) == {}
    assert derainer.fed == list(range(8))


@OVERLAP
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_clip_shorter_than_the_look_ahead(run, fakes, overlap, count):
    results = run(fakes.Rememberer(2), fakes.scene(1, count), overlap=overlap)
    assert told(results) == [(i, i + 1, count - 1) for i in range(count)]


@OVERLAP
@LOOK_AHEAD
def test_another_scene_begins_anew(run, statistics, fakes, overlap, look_ahead):
    """What waits comes out without having seen the scene that follows."""
    pictures = chain(
        fakes.scene(1, 4), fakes.scene(2, 1, first=4), fakes.scene(3, 3, first=5)
    )
    results = run(fakes.Rememberer(look_ahead), pictures, overlap=overlap)
    first = [(i, i + 1, min(i + look_ahead, 3)) for i in range(4)]
    third = [(i + 5, i + 1, min(i + look_ahead, 2) + 5) for i in range(3)]
    assert told(results) == [*first, (4, 1, 4), *third]
    assert resets(statistics) == {"cut": 2}
    assert statistics["derained"] == 8


@OVERLAP
@LOOK_AHEAD
def test_another_size_begins_anew(run, statistics, fakes, overlap, look_ahead):
    pictures = chain(fakes.scene(1, 2), fakes.scene(1, 2, 2, size=Size(32, 24)))
    results = run(fakes.Rememberer(look_ahead), pictures, overlap=overlap)
    assert [frame.size.width for frame in results] == [64, 64, 32, 32]
    assert [known for _, known, _ in told(results)] == [1, 2, 1, 2]
    assert resets(statistics) == {"size": 1}


@OVERLAP
@LOOK_AHEAD
def test_fitted_pictures_come_back_at_their_size(
    run, fakes, overlap, look_ahead, caplog
):
    pictures = chain(fakes.scene(1, 3), fakes.scene(1, 3, 3, size=Size(32, 24)))
    derainer = fakes.Rememberer(look_ahead, sizes="48x36")
    results = run(derainer, pictures, resize=True, overlap=overlap, name="yard")
    assert [frame.size.width for frame in results] == [64, 64, 64, 32, 32, 32]
    assert [frame.index for frame in results] == list(range(6))
    told = [record.message.partition(":")[0::2] for record in caplog.records]
    assert [name for name, _ in told] == ["yard", "yard"]
    assert [text.split(",")[0] for _, text in told] == [
        " 64x48 -> 48x36",
        " 32x24 -> 32x24 in 48x36",
    ]


def test_photographs_of_many_sizes_are_not_told_of_one_by_one(run, fakes, said):
    sizes = (Size(40 + 2 * number, 30) for number in range(9))
    pictures = chain(*(fakes.scene(1, 1, size=size) for size in sizes))
    assert len(run(fakes.Rememberer(sizes="32x24"), pictures, resize=True)) == 9
    assert [line.partition(" ->")[0] for line in said()] == [
        *("40x30", "42x30", "44x30", "46x30"),
        "frames of more sizes are fitted",
    ]


def test_an_engine_of_fewer_sizes_than_its_bundle_is_fitted_into(run, fakes):
    derainer = fakes.Rememberer()  # the bundle takes 64x48
    derainer.sizes = SizeRange.parse("48x36")
    shapes = []
    derain = derainer.derain
    derainer.derain = lambda image: shapes.append(image.shape) or derain(image)
    (result,) = run(derainer, fakes.scene(1, 1), resize=True)
    assert (shapes, str(result.size)) == ([(36, 48, 3)], "64x48")


@OVERLAP
@LOOK_AHEAD
def test_a_state_that_is_no_number_spoils_no_more_than_it_must(
    run, statistics, fakes, overlap, look_ahead
):
    """The frame itself and those that waited for it pass by; the rest is derained."""
    derainer = fakes.Rememberer(look_ahead, poison={5})
    results = run(derainer, fakes.scene(1, 9), overlap=overlap)
    spoilt = range(5 - look_ahead, 6)
    before = [(i, i + 1, i + look_ahead) for i in range(spoilt[0])]
    after = [(i, i - 5, min(i + look_ahead, 8)) for i in range(6, 9)]
    assert told(results) == [*before, *spoilt, *after]
    assert [frame.index for frame in results] == list(range(9))
    assert resets(statistics) == {"nan": 1}
    assert statistics["passed_through"] == look_ahead + 1


@OVERLAP
@LOOK_AHEAD
def test_states_that_are_never_numbers_let_everything_pass(
    run, statistics, fakes, overlap, look_ahead
):
    derainer = fakes.Rememberer(look_ahead, poison=range(6))
    assert told(run(derainer, fakes.scene(1, 6), overlap=overlap)) == list(range(6))
    assert statistics["passed_through"] == 6
    assert 0 < statistics.resets["nan"] <= 6


@pytest.mark.parametrize(("missing", "expected"), [(3, {}), (4, {"dropped": 1})])
@LOOK_AHEAD
def test_a_few_dropped_frames_are_survived(
    run, statistics, fakes, missing, expected, look_ahead
):
    indices = [0, 1, 2 + missing, 3 + missing]
    results = run(fakes.Rememberer(look_ahead), fakes.scene(1, 4), indices=indices)
    assert [frame.index for frame in results] == indices
    known = [1, 2, 1, 2] if expected else [1, 2, 3, 4]
    assert [each[1] for each in told(results)] == known
    assert resets(statistics) == expected


@LOOK_AHEAD
def test_the_gate_gives_up_the_memory_once_for_each_dry_spell(
    run, statistics, fakes, look_ahead
):
    derainer = fakes.Rememberer(look_ahead)
    gate = Gate(dry_from=4, rain_from=12)
    results = run(derainer, fakes.scene(1, 18), gate=gate)
    assert [frame.index for frame in results] == list(range(18))
    passed = [frame.index for frame in results if frame.passed]
    # The one that showed that it is dry is the last to be derained.
    assert passed == list(range(5, passed[-1] + 1))
    assert statistics["looks"] >= 2
    assert len(derainer.fed) == 18 - len(passed) + statistics["looks"]  # no more
    assert resets(statistics) == {"gate": 1}
    wet = [each[1] for each in told(results)[passed[-1] + 1 :]]
    again = [1, *range(1, len(wet))] if look_ahead else [*range(1, len(wet) + 1)]
    assert wet == again  # with look-ahead, a look is flushed, and begins nothing


def test_a_late_frame_is_not_fed_and_waits_for_those_before_it(run, statistics, fakes):
    derainer = fakes.Rememberer(look_ahead=1)
    deadline = Patience([0, 0, 1, 1, 1, 0, 0])
    results = run(derainer, fakes.scene(1, 7), deadline=deadline, late="pass")
    assert told(results) == [(0, 1, 1), (1, 2, 5), 2, 3, 4, (5, 3, 6), (6, 4, 6)]
    assert derainer.fed == [0, 1, 5, 6]
    assert statistics["late"] == statistics["passed_through"] == 3
    assert resets(statistics) == {}
    assert len(deadline.told) == 3  # what was flushed had not waited for a frame


@LOOK_AHEAD
def test_too_many_late_frames_in_a_row_give_up_the_memory_once(
    run, statistics, fakes, look_ahead
):
    """And what waits does not wait for ever."""
    late = [0, 0, *[1] * 9, 0, 0]
    derainer, deadline = fakes.Rememberer(look_ahead), Patience(late)
    results = run(derainer, fakes.scene(1, 13), deadline=deadline, late="pass")
    assert [frame.index for frame in results] == list(range(13))
    assert [frame.passed for frame in results] == list(map(bool, late))
    assert [each[1] for each in told(results) if type(each) is tuple] == [1, 2, 1, 2]
    assert resets(statistics) == {"dropped": 1}


def test_waiting_for_the_next_frame_counts_for_the_deadline(
    run, statistics, fakes, monkeypatch
):
    ticks = iter(range(1000))
    clock = type("Clock", (), {"perf_counter": lambda: float(next(ticks))})
    for module in ("inference", "stream_memory"):
        monkeypatch.setattr(
            f"derain.runtime.pipeline.{module}.time.perf_counter", clock.perf_counter
        )
    waits = {}
    for look_ahead in (0, 2):
        deadline = Patience([0] * 6)
        run(fakes.Rememberer(look_ahead), fakes.scene(1, 6), deadline=deadline)
        waits[look_ahead] = min(deadline.told)
    assert waits[2] >= waits[0] + 2


@LOOK_AHEAD
def test_a_source_that_fails_lets_out_what_waits(statistics, fakes, look_ahead):
    def frames():
        for index, picture in enumerate(fakes.scene(1, 4)):
            yield Frame(picture, index, Fraction(index))
        raise MediaError("damaged")

    results = []
    inference = Inference(fakes.Rememberer(look_ahead), statistics)
    with pytest.raises(MediaError, match="damaged"):
        results.extend(inference.derained(frames()))
    del results
    assert (statistics["derained"], statistics["dropped"]) == (4, 0)


@OVERLAP
def test_what_waits_when_nobody_takes_it_is_dropped(statistics, fakes, overlap):
    frames = (
        Frame(picture, index, Fraction(index))
        for index, picture in enumerate(fakes.scene(1, 9))
    )
    inference = Inference(fakes.Rememberer(2), statistics, overlap=overlap)
    results = inference.derained(frames)
    next(results)
    results.close()
    assert statistics["derained"] == 1
    assert statistics["dropped"] == (4 if overlap else 2)  # it reads ahead


def test_each_bundle_has_a_memory_which_is_given_up_with_a_change(
    run, statistics, fakes
):
    large, small = fakes.Rememberer(1), fakes.Rememberer(0)
    pictures = [
        picture
        for first in (0, 5)
        for picture in chain(
            fakes.scene(1, 3, first), fakes.scene(1, 2, first + 3, size=Size(32, 24))
        )
    ]
    choose = lambda size: large if size.width == 64 else small  # noqa: E731
    results = run(large, pictures, choose=choose)
    assert [each[:2] for each in told(results)] == [
        (level, known) for level, known in enumerate([1, 2, 3, 1, 2] * 2)
    ]
    assert (large.fed, small.fed) == ([0, 1, 2, 5, 6, 7], [3, 4, 8, 9])
    assert resets(statistics) == {"size": 3}


def test_a_bundle_that_cannot_be_opened_loses_no_count(run, statistics, fakes):
    derainer = fakes.Rememberer(1)

    def choose(size):
        if size.width == 64:
            return derainer
        raise EngineError("it does not run here")

    pictures = chain(fakes.scene(1, 3), fakes.scene(1, 1, size=Size(32, 24)))
    with pytest.raises(EngineError, match="does not run here"):
        run(derainer, pictures, choose=choose)
    assert (statistics["captured"], statistics["derained"]) == (4, 2)
    assert statistics["dropped"] == 2


def test_without_states_nothing_is_compared_or_counted(
    run, statistics, fakes, monkeypatch
):
    derainer = fakes.Rememberer()
    derainer.bundle = fakes.manifest()
    monkeypatch.setattr(SceneCut, "saw", lambda self, image: 1 / 0)
    pictures = chain(fakes.scene(1, 3), fakes.scene(2, 3, size=Size(32, 24)))
    assert len(run(derainer, pictures, indices=[0, 1, 2, 30, 31, 32])) == 6
    assert derainer.resets == 0
    assert statistics.as_dict()["resets"] is None


@pytest.mark.parametrize("look_ahead", [0, 2])
def test_a_lost_source_lets_out_what_waits_and_begins_anew(
    within, fakes, monkeypatch, look_ahead
):
    monkeypatch.setattr("derain.runtime.pipeline.capture.FIRST_PAUSE_S", 0.001)
    options = LoopOptions()
    statistics = options.statistics

    def until(condition):
        deadline = time.monotonic() + fakes.SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def paced(first):
        for picture in fakes.scene(1, 4, first):
            yield picture
            until(lambda: len(derainer.fed) == statistics["captured"])

    def reopen():  # when all that waited is seen, be it under stand-ins
        until(lambda: sum(frame.signal for frame in screen.frames) == 4)
        return fakes.Camera(paced(4))

    derainer, screen = fakes.Rememberer(look_ahead), fakes.Screen(keeps=True)
    camera = fakes.Camera(paced(0), end=fakes.lost())
    within(camera, derainer, [screen], options, reopen)
    shown = [frame for frame in screen.frames if frame.signal]
    assert [each[:2] for each in told(shown)] == [
        (level, level % 4 + 1) for level in range(8)
    ]
    times = [frame.time for frame in screen.frames]
    assert times == sorted(set(times))
    assert resets(statistics) == {"source": 1}
    assert fakes.adds_up(statistics)


def test_a_live_frame_is_older_by_the_frames_it_waited_for(within, fakes):
    options = LoopOptions()
    camera = fakes.Camera(list(fakes.scene(1, 6)), lambda: time.sleep(0.03))
    screen = fakes.Screen(keeps=True)
    within(camera, fakes.Rememberer(2), [screen], options)
    assert len(screen.frames) == 6
    values = options.statistics.as_dict()
    assert values["age_ms"]["p50"] >= 2 * 30  # all but the last two, which are flushed
    assert values["derain_ms"]["p50"] < 30  # without the waiting
