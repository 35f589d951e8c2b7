"""The preview over real sockets."""

import contextlib
import json
import socket
import threading
from fractions import Fraction

import numpy as np
import pytest

from derain.core.errors import ConfigError
from derain.runtime.preview.hub import MAX_VIEWERS
from derain.runtime.telemetry.statistics import SinkStatistics, Statistics
from derain.runtime.video.frames import Frame

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra preview")

from derain.runtime.preview import server as module  # noqa: E402 - needs uvicorn
from derain.runtime.preview.connections import most_connections  # noqa: E402

NOISE = np.random.default_rng(0).integers(0, 99, (360, 640, 3)).astype(np.uint8)
BITS = 16


def noisy(index):
    """A frame of some 200 KB as JPEG, with its index in the first two lines of it."""
    image = NOISE.copy()
    image[:16, : 16 * BITS] = np.kron(bits_of(index), np.full((16, 16, 1), 240))
    return Frame(image, index, Fraction(index, 25), rainy=image)


def numbered(index):
    """A small frame with its index in it, 50 grey levels brighter before than after."""
    after = np.zeros((48, 16 * BITS, 3), np.uint8)
    after[:] = np.kron(bits_of(index), np.full((48, 16, 1), 150))
    return Frame(after, index, Fraction(index, 25), rainy=after + np.uint8(50))


def bits_of(index):
    return np.array([index >> bit & 1 for bit in range(BITS)], np.uint8).reshape(
        1, BITS, 1
    )


def index_of(picture):
    """The index in a picture of one of these frames."""
    return sum(
        int(np.median(picture[:16, 16 * bit : 16 * (bit + 1)]) > 100) << bit
        for bit in range(BITS)
    )


def test_the_page_comes_with_a_policy_that_allows_nothing_from_outside(previews, get):
    response = get(previews(), "/")
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert b"<title>derain" in response.body
    policy = response.getheader("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; connect-src 'self'")
    assert "unsafe" not in policy
    assert b"http://" not in response.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in response.body


@pytest.mark.parametrize("path", ["/", "/stats", "/stream", "/other"])
def test_every_answer_has_the_headers_that_protect(previews, get, path):
    response = get(previews(), path, "HEAD")
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("Access-Control-Allow-Origin") is None
    assert response.body == b""


@pytest.mark.parametrize(
    "path",
    ["/index.html", "/page/index.html", "/..", "/%2e%2e/etc/passwd", "//", "/stats/"],
)
def test_nothing_else_is_there(previews, get, path):
    assert get(previews(), path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(previews, get, method):
    response = get(previews(), "/stats", method)
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_the_statistics_are_those_of_the_run_without_paths(previews, get):
    statistics = Statistics()
    statistics.count("captured", 3)
    statistics.derain.add(20.0)
    statistics.sinks.append(SinkStatistics("/home/somebody/out.mp4"))
    statistics.sinks[0].age.add(50.0)
    response = get(previews(statistics=statistics), "/stats")
    assert response.getheader("Content-Type") == "application/json"
    values = json.loads(response.body)
    assert values["captured"] == 3
    assert values["viewers"] == 0
    assert values["total_ms"] == {
        "derain": {"count": 1, "sum": 20.0},
        "age": {"count": 1, "sum": 50.0},
    }
    assert b"somebody" not in response.body


def test_a_stream_shows_before_and_after_of_one_frame(previews, feed, watch, decode):
    preview = previews()
    feed(preview, numbered)
    stream = watch(preview)
    indices = []
    for _ in range(5):
        before, after = np.split(decode(stream.picture()).astype(int), 2, axis=1)
        assert abs(np.median(before - after) - 50) <= 2
        assert index_of(before - 50) == index_of(after)
        indices.append(index_of(after))
    assert indices == sorted(set(indices))  # each frame once, in order


def test_many_viewers_cost_one_coding(previews, feed, watch, monkeypatch):
    from derain.runtime.preview import sink

    frames, coded = [], []

    def make(index):
        frames.append(index)
        return numbered(index)

    def jpeg(image, jpeg=sink.jpeg):
        coded.append(jpeg(image))
        return coded[-1]

    monkeypatch.setattr(sink, "jpeg", jpeg)
    preview = previews()
    streams = [watch(preview) for _ in range(4)]
    feed(preview, make)
    seen = [{stream.picture() for _ in range(5)} for stream in streams]
    # Which of them each saw is a matter of when it was ready for one.
    assert set.union(*seen) <= set(coded)
    so_far = list(coded)
    assert len(set(so_far)) == len(so_far) <= len(frames)


def test_an_unknown_view_is_not_there(previews, get):
    response = get(previews(), "/stream?view=other")
    assert response.status == 404
    assert response.body == b"no such view; wanted side-by-side, derained, rain\n"


def test_viewers_are_bounded_and_make_room_when_they_leave(previews, get, watch, until):
    preview = previews()
    streams = [watch(preview) for _ in range(MAX_VIEWERS)]
    assert [stream.status for stream in streams] == [200] * MAX_VIEWERS
    refused = get(preview, "/stream")
    assert refused.status == 503
    assert refused.body == b"8 viewers already; close one of them\n"
    streams[0].close()
    until(lambda: watch(preview).status == 200)


def test_connections_are_bounded_and_the_idle_keep_nobody_out(
    previews, get, until, monkeypatch
):
    monkeypatch.setattr(module, "IDLE_S", 3600.0)  # they ask nothing
    preview = previews(token="long-enough")
    most = most_connections()
    with contextlib.ExitStack() as stack:
        for _ in range(2 * most):
            address = ("127.0.0.1", preview.port)
            stack.enter_context(socket.create_connection(address))
        until(lambda: 0 < len(preview._server.server_state.connections) <= most)
        assert get(preview, "/stats?token=long-enough").status == 200


def test_a_viewer_who_was_away_sees_the_newest_soon(
    previews, feed, watch, decode, until
):
    """Between are only the pictures in the buffers: some 400 KB, of 200 KB each."""
    preview, written = previews(), []

    def make(index):
        written.append(index)
        return noisy(index)

    stream = watch(preview, "?view=derained", receive_buffer=64 * 1024)
    feed(preview, make)
    for _ in range(3):
        stream.picture()
    away = len(written)
    until(lambda: len(written) >= away + 60)
    back = len(written)
    old = 0
    while index_of(decode(stream.picture())) < back - 1:
        old += 1
    assert old <= 5  # of the 60 that were made


def test_a_viewer_who_takes_nothing_is_closed(previews, feed, get, watch, until):
    preview = previews(stalled_s=0.3)
    watch(preview, receive_buffer=4096)
    feed(preview, noisy)

    def viewers():
        return json.loads(get(preview, "/stats").body)["viewers"]

    until(lambda: viewers() == 0)


def test_a_connection_that_asks_nothing_is_closed(previews, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.5)
    with socket.create_connection(("127.0.0.1", previews().port), 120) as idle:
        idle.sendall(b"GET / HT")
        assert idle.recv(1) == b""


def test_close_lets_viewers_go_and_does_not_wait_for_stalled_ones(
    previews, feed, watch, make_frame
):
    preview = previews()
    follower = watch(preview)
    watch(preview, receive_buffer=4096)  # reads nothing
    for index in range(20):
        preview.write(noisy(index))
        assert index or follower.picture()
    preview.close()
    while follower.picture() is not None:
        pass
    assert "preview" not in {thread.name for thread in threading.enumerate()}
    preview.close()


def test_a_port_that_is_taken_is_said(previews):
    taken = previews().port
    with pytest.raises(ConfigError, match=f"at 127.0.0.1:{taken}: Address already in"):
        module.PreviewServer(Statistics(), "127.0.0.1", taken)


@pytest.mark.parametrize("path", ["/", "/stats", "/stream", "/other"])
def test_without_the_token_there_is_nothing(previews, get, path):
    response = get(previews("a token of mine"), path, headers={"Cookie": "a=b"})
    assert response.status == 401
    assert response.body.startswith(b"a token is needed")


def test_the_token_opens_the_page_and_its_cookie_the_rest(previews, get):
    preview = previews("a-token-of-mine")
    page = get(preview, "/?token=a-token-of-mine")
    assert page.status == 200
    cookie = page.getheader("Set-Cookie").partition(";")[0]
    assert get(preview, "/stats", headers={"Cookie": cookie}).status == 200
    assert get(preview, "/stats?token=a-token-of-mine").status == 200
