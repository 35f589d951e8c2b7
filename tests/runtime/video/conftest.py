"""Servers on this machine's loopback, each in a process or thread of its own."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from derain.runtime.video.sources import camera, rendered

SECONDS = 120  # far more than anything here takes
SYSTEM_PYTHON = "/usr/bin/python3"
NEEDS = (
    "import gi; gi.require_version('GstRtspServer', '1.0')\n"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
    "assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'h264parse')))"
)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Time limits for a machine that stands still for a while.

    A test of a limit gives its own: ``?timeout=1``.
    """
    for module in (camera, rendered):
        monkeypatch.setattr(module, "TIMEOUT_S", SECONDS)
    if importlib.util.find_spec("av") is None:
        return
    from derain.runtime.video.sinks import rtsp_publisher
    from derain.runtime.video.sources import ffmpeg_stream, gstreamer, rtsp_http

    for owner in (ffmpeg_stream.StreamSpec, rtsp_publisher.RtspSink):
        monkeypatch.setitem(owner.__init__.__kwdefaults__, "timeout_s", SECONDS)
    for fields in (rtsp_http._RTSP_FIELDS, rtsp_http._HTTP_FIELDS):
        monkeypatch.setitem(fields, "timeout", str(SECONDS))
    monkeypatch.setattr(gstreamer, "_OPEN_TIMEOUT_S", SECONDS)
    monkeypatch.setattr(gstreamer, "_LAST_WORDS_S", SECONDS)


class RtspServer:
    """A server that can be killed, frozen, and started again at the same place."""

    def __init__(self, recording):
        # Bound as long as this object lives, and never listening: the server may take
        # the port over, and nobody else gets it, while there is no server either.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = self._reserved.getsockname()[1]
        self.recording = recording
        self.process = None

    def start(self):
        script = Path(__file__).with_name("rtsp_server.py")
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, script, str(self.port), self.recording],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def close(self):
        self.kill()
        self._reserved.close()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def uri(self, path="live", user="", fields=""):
        return f"rtsp://{user}127.0.0.1:{self.port}/{path}{fields}"


@pytest.fixture(scope="session")
def has_rtsp_server():
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no {SYSTEM_PYTHON}")
    asked = subprocess.run(
        [SYSTEM_PYTHON, "-c", NEEDS], capture_output=True, timeout=60, check=False
    )
    if asked.returncode:
        pytest.skip(
            "no RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 "
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
            "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
        )


@pytest.fixture
def rtsp_server(has_rtsp_server, tmp_path):
    server = RtspServer(tmp_path / "recorded.mkv")
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture(scope="session")
def has_gstreamer():
    for program in ("gst-launch-1.0", "gst-inspect-1.0"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt install gstreamer1.0-tools")
    for element in ("videotestsrc", "videoconvert", "y4menc"):
        found = subprocess.run(
            ["gst-inspect-1.0", "--exists", element], timeout=60, check=False
        )
        if found.returncode:
            pytest.skip(f"GStreamer has no {element}: apt install its plug-ins")


@pytest.fixture
def serve():
    """Starts a web server: ``serve(answer)``, with `answer` called for each GET."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    answer(self)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve_folder(serve):
    """Serves the files in a folder: ``serve_folder(path)``."""

    def start(folder):
        def answer(request):
            path = folder / request.path.partition("?")[0].lstrip("/")
            if not path.is_file():
                request.send_error(404)
                return
            data = path.read_bytes()
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)

        return serve(answer)

    return start
