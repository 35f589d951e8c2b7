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


@pytest.mark.parametrize(
    ("rate", "least", "most"), [(30, 30, 30), (200, 30, 40)], ids=["camera", "file"]
)
def test_a_camera_is_shown_whole_and_a_fast_file_in_part(make_frame, rate, least, most):
    times = iter(1 + np.arange(rate) / rate)  # one second
    hub = Hub("derained")
    sink = JpegSink(hub, times.__next__)
    for index in range(rate):
        sink.write(make_frame(index))
    assert least <= len(hub.pictures) <= most
