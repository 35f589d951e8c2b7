"""Frames through the network when the backend has several under way."""

import itertools
from collections import deque
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from derain.core.errors import EngineError, MediaError, ShapeError
from derain.runtime.pipeline.inference import Inference
from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame


class Pipeline:
    """A derainer that asks for three frames ahead, and has one buffer for results."""

    bundle = SimpleNamespace(manifest=SimpleNamespace(states=(), look_ahead=0))

    def __init__(self, fails_at=None, error=None):
        self.fails_at, self.error = fails_at, error
        self.closed = False
        self.buffer = np.zeros((2, 2, 3), np.uint8)

    def stream(self, images):
        ahead = deque()
        done = itertools.count()
        broken = None
        try:
            source = iter(images)
            while True:
                try:
                    while len(ahead) < 3:
                        ahead.append(255 - next(source))
                except StopIteration:
                    pass
                except MediaError as error:
                    broken = error
                if not ahead:
                    if broken:
                        raise broken
                    return
                if next(done) == self.fails_at:
                    raise self.error
                np.copyto(self.buffer, ahead.popleft())
                yield self.buffer
        finally:
            self.closed = True


def frames(count, error=None):
    for index in range(count):
        picture = np.full((2, 2, 3), index, np.uint8)
        yield Frame(picture, index, Fraction(index, 25))
    if error is not None:
        raise error


@pytest.fixture
def statistics():
    return Statistics()


def levels(results):
    return [(frame.index, int(frame.image[0, 0, 0])) for frame in results]


def test_results_belong_to_their_frames_and_last(statistics):
    network = Inference(Pipeline(), statistics, overlap=True)
    results = list(network.derained(frames(10)))
    assert levels(results) == [(i, 255 - i) for i in range(10)]
    assert [int(frame.rainy[0, 0, 0]) for frame in results] == list(range(10))
    assert statistics["derained"] == 10


def test_a_source_that_fails_lets_what_is_under_way_out(statistics):
    network = Inference(Pipeline(), statistics, overlap=True)
    results = network.derained(frames(5, MediaError("damaged")))
    assert levels(itertools.islice(results, 5)) == [(i, 255 - i) for i in range(5)]
    with pytest.raises(MediaError, match="damaged"):
        next(results)
    assert (statistics["derained"], statistics["dropped"]) == (5, 0)


def test_what_is_under_way_when_the_engine_fails_is_dropped(statistics):
    pipeline = Pipeline(fails_at=4, error=EngineError("the device is gone"))
    results = Inference(pipeline, statistics, overlap=True).derained(frames(10))
    assert len(list(itertools.islice(results, 4))) == 4
    with pytest.raises(EngineError, match="the device is gone"):
        next(results)
    assert (statistics["derained"], statistics["dropped"]) == (4, 3)


def test_a_frame_of_another_size_is_named(statistics):
    pipeline = Pipeline(fails_at=0, error=ShapeError("frame is 8x8"))
    results = Inference(pipeline, statistics, overlap=True).derained(frames(1))
    with pytest.raises(ShapeError, match=r"^frame 0: frame is 8x8$"):
        next(results)


def test_a_consumer_that_stops_closes_the_pipeline(statistics):
    pipeline = Pipeline()
    results = Inference(pipeline, statistics, overlap=True).derained(frames(10))
    next(results)
    results.close()
    assert pipeline.closed
    assert (statistics["derained"], statistics["dropped"]) == (1, 2)
