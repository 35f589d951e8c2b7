"""``derain-run --preview``."""

import logging
import socket
import sys
import threading

import pytest

from derain.runtime.preview import preview_notes


def test_a_port_that_is_taken_is_one_line(invoke, bundles, picture_folder):
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = invoke(
            *(bundles("darken"), "--source", picture_folder(), "--preview", address)
        )
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: the preview cannot be served at {address}: ")


def test_the_extra_is_named_where_it_is_missing(
    invoke, bundles, picture_folder, monkeypatch
):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "derain.runtime.preview.server", raising=False)
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--preview", "127.0.0.1:0")
    )
    assert result.exit_code == 1
    assert "pip install 'derain[preview]'" in result.stderr


def test_a_sink_or_a_preview_is_needed(invoke, bundles, picture_folder):
    result = invoke(bundles("darken"), "--source", picture_folder())
    assert result.exit_code == 2
    assert "missing option '--sink' (or '--preview')" in result.stderr


@pytest.mark.parametrize(
    ("host", "token", "address", "warns"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:80/", False),
        ("::1", None, "http://[::1]:80/", False),
        ("localhost", None, "http://localhost:80/", False),
        ("0.0.0.0", None, "http://0.0.0.0:80/", True),
        ("jetson.local", None, "http://jetson.local:80/", True),
        ("0.0.0.0", "a token", "http://0.0.0.0:80/?token=...", False),
    ],
)
def test_a_preview_for_all_without_a_token_is_told_of(host, token, address, warns):
    first, *more = preview_notes(host, 80, token)
    assert first == f"the preview is at {address}"
    assert bool(more) == warns


def test_a_run_is_shown_from_its_first_frame_to_its_end(
    bundles, picture_folder, watch, decode
):
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    from derain.runtime.pipeline.run import run

    streams = []

    class Page:
        port = 0

    class Watch(logging.Handler):
        def emit(self, record):  # before the first frame
            if "preview is at" in record.getMessage():
                Page.port = int(record.getMessage().rstrip("/").rpartition(":")[2])
                streams.append(watch(Page))

    logger, handler = logging.getLogger("derain"), Watch()
    logger.addHandler(handler)
    try:
        folder = str(picture_folder(count=5))
        report = run(bundles("darken"), folder, preview="127.0.0.1:0")
    finally:
        logger.removeHandler(handler)
    assert report.sink == "the preview"
    assert report.frames == 5
    picture = decode(streams[0].picture())
    assert picture.shape == (48, 128, 3)
    assert abs(picture[:, :56].mean() / 2 - picture[:, 72:].mean()) < 5  # darkened
    while streams[0].picture() is not None:
        pass
    assert "preview" not in {thread.name for thread in threading.enumerate()}
