"""Several cameras on one page, over HTTP."""

import contextlib
import json
import socket

import pytest

from derain.runtime.telemetry.statistics import About, Statistics

SECONDS = 120


@pytest.fixture
def wall():
    """Starts walls: ``wall(token=None)``; all are closed."""
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    from derain.runtime.preview.server import WallServer

    with contextlib.ExitStack() as stack:

        def start(token=None):
            return stack.enter_context(
                contextlib.closing(WallServer("127.0.0.1", 0, token))
            )

        yield start


def parts(port, path="/wall"):
    """The pictures of an endless response: whose each is, and its bytes."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        file = connection.makefile("rb")
        while file.readline().strip():
            pass
        while line := file.readline():
            headers = {}
            while line.strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
                line = file.readline()
            if "content-length" in headers:
                size = int(headers["content-length"])
                yield headers.get("x-camera"), file.read(size)


def test_the_wall_shows_all_cameras_in_one_response(wall, feed, make_frame, decode):
    page = wall()
    for number, name in enumerate(("yard", "gate")):
        make = lambda index, n=number: make_frame(  # noqa: E731
            index, width=960, height=540, after=60 + 80 * n
        )
        feed(page.sink(name, Statistics()), make)
    seen = {}
    for name, data in parts(page.port):
        seen[name] = decode(data)
        if len(seen) == 2:
            break
    assert seen["yard"].shape == seen["gate"].shape == (270, 480, 3)
    assert seen["yard"].mean() == pytest.approx(60, abs=3)
    assert seen["gate"].mean() == pytest.approx(140, abs=3)


def test_each_camera_has_the_page_of_one(wall, feed, make_frame, get, decode):
    page = wall()
    feed(page.sink("yard", Statistics()), make_frame)
    assert b"all cameras" in get(page, "/").body
    assert b'id="divider"' in get(page, "/camera/yard/").body
    assert json.loads(get(page, "/camera/yard/stats").body)["captured"] == 0
    (_, data) = next(parts(page.port, "/camera/yard/stream?view=derained"))
    assert decode(data).mean() == pytest.approx(80, abs=3)
    for path in ("/camera/gate/", "/camera/yard", "/camera/yard/x", "/stats", "/x"):
        assert get(page, path).status == 404
    assert get(page, "/", "POST").status == 405


def test_what_each_says_of_itself(wall, get):
    page = wall()
    statistics = Statistics()
    statistics.about = About(source="rtsp://h/1", bundle="b", backend="o", version="1")
    page.sink("yard", statistics)
    (row,) = json.loads(get(page, "/cameras").body)
    assert (row["camera"], row["about"]["bundle"]) == ("yard", "b")
    assert "sinks" not in row  # they tell paths


def test_a_token_is_for_all_of_it(wall, get):
    page = wall("a-token-of-mine")
    page.sink("yard", Statistics())
    for path in ("/", "/wall", "/cameras", "/camera/yard/stats", "/camera/no/"):
        assert get(page, path).status == 401
    cookie = get(page, "/?token=a-token-of-mine").headers["Set-Cookie"].split(";")[0]
    for path in ("/", "/cameras", "/camera/yard/stats"):
        assert get(page, path, headers={"Cookie": cookie}).status == 200
    assert get(page, "/camera/no/", headers={"Cookie": cookie}).status == 404


def test_a_camera_goes_and_one_of_its_name_comes(wall, get, make_frame):
    page = wall()
    first = page.sink("yard", Statistics())
    second = page.sink("yard", Statistics())
    first.close()
    first.write(make_frame())  # harmless
    assert len(json.loads(get(page, "/cameras").body)) == 1
    second.close()  # it has failed: that is to be seen
    assert len(json.loads(get(page, "/cameras").body)) == 1
    page.remove("yard")
    assert json.loads(get(page, "/cameras").body) == []


def test_nobody_who_watches_costs_no_picture(wall, make_frame, monkeypatch):
    page = wall()
    channel = page.sink("yard", Statistics())
    monkeypatch.setattr("derain.runtime.preview.wall.jpeg", None)  # would fail
    channel.write(make_frame())
