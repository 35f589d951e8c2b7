"""What is coded: each frame once for each view, and only what is watched."""

import numpy as np
import pytest

from derain.runtime.preview import sink as module
from derain.runtime.preview.sink import MAX_WIDTH, JpegSink


class Hub:
    """Keeps what is published."""

    def __init__(self, *watched):
        self.watched = frozenset(watched)
        self.pictures = []

    def publish(self, view, picture):
        self.pictures.append((view, picture))


@pytest.fixture
def clock():
    """Seconds that pass in large steps."""
    return iter(range(1, 1000)).__next__


def test_nobody_watching_costs_no_coding(monkeypatch, make_frame, clock):
    monkeypatch.setattr(module, "jpeg", lambda image: pytest.fail("coded for nobody"))
    hub = Hub()
    JpegSink(hub, clock).write(make_frame())
    assert hub.pictures == []


def test_each_view_that_is_watched_is_coded(make_frame, decode, clock):
    hub = Hub("side-by-side", "derained", "rain")
    JpegSink(hub, clock).write(make_frame(before=200, after=180))
    pictures = {view: decode(data) for view, data in hub.pictures}
    assert pictures["side-by-side"].shape == (48, 128, 3)
    assert np.allclose(pictures["side-by-side"][:, :56], 200, atol=2)
    assert np.allclose(pictures["side-by-side"][:, 72:], 180, atol=2)
    assert np.allclose(pictures["derained"], 180, atol=2)
    assert np.allclose(pictures["rain"], 80, atol=2)  # four times the difference


def test_large_frames_are_scaled_down(make_frame, decode, clock):
    hub = Hub("side-by-side")
    JpegSink(hub, clock).write(make_frame(width=2560, height=1440))
    assert decode(hub.pictures[0][1]).shape == (720, 2 * MAX_WIDTH, 3)


def test_a_frame_without_a_picture_before_is_its_own(make_frame, decode, clock):
    from dataclasses import replace

    hub = Hub("side-by-side")
    JpegSink(hub, clock).write(replace(make_frame(after=90), rainy=None))
    assert np.allclose(decode(hub.pictures[0][1]), 90, atol=2)


def test_a_fast_file_is_shown_at_forty_a_second(make_frame):
    hub, times = Hub("derained"), iter(np.arange(1, 2, 0.005))
    sink = JpegSink(hub, times.__next__)
    for index in range(200):
        sink.write(make_frame(index))
    assert 38 <= len(hub.pictures) <= 41
