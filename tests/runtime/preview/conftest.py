"""Previews on loopback, frames for them, and what a client reads."""

import contextlib
import http.client
import os
import shutil
import socket
import threading
from fractions import Fraction

import numpy as np
import pytest

from derain.runtime.telemetry.statistics import Statistics
from derain.runtime.video.frames import Frame

SECONDS = 120  # far more than anything here takes


# Of headless Chromium.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # as root, and there is nothing but our page
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1000,900",
)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, driven by Selenium; one for all: it takes two seconds."""
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs selenium to drive a browser"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if not (chromium and driver_path):
        pytest.skip("needs chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver_path, log_output=os.devnull)
    driver = webdriver.Chrome(options=options, service=service)
    with contextlib.closing(driver.command_executor):
        yield driver
        driver.quit()


@pytest.fixture(scope="session")
def make_frame():
    """A flat grey frame, whose `after` is darker: ``make_frame(index)``."""

    def frame(index=0, width=64, height=48, before=200, after=80):
        rainy = np.full((height, width, 3), before, np.uint8)
        image = np.full((height, width, 3), after, np.uint8)
        return Frame(image, index, Fraction(index, 25), rainy=rainy)

    return frame


@pytest.fixture
def previews():
    """Starts previews at free ports: ``previews(token=None)``; all are closed."""
    pytest.importorskip("uvicorn", reason="needs the extra preview")
    from derain.runtime.preview.server import PreviewServer

    with contextlib.ExitStack() as stack:

        def start(token=None, statistics=None, **options):
            server = PreviewServer(
                statistics or Statistics(), "127.0.0.1", 0, token, **options
            )
            stack.enter_context(contextlib.closing(server))
            return server

        yield start


@pytest.fixture
def feed():
    """Writes frames from a thread until the test is over: ``feed(preview, make)``.

    Or until what it returns is called.
    """
    with contextlib.ExitStack() as stack:

        def start(preview, make, period_s=0.03):
            over = threading.Event()

            def write():
                index = 0
                while not over.is_set():
                    preview.write(make(index))
                    index += 1
                    over.wait(period_s)

            thread = threading.Thread(target=write)
            thread.start()

            def stop():
                over.set()
                thread.join()

            stack.callback(stop)
            return stop

        yield start


@pytest.fixture
def get():
    """One request: ``get(preview, "/stats")`` is the response, with ``.body``."""

    def request(preview, path, method="GET", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", preview.port, SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            response.body = response.read()
            return response

    return request


class Stream:
    """The pictures of ``/stream``, one at a time."""

    def __init__(self, port, query="", receive_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        # 1.0: without chunks between.
        self.socket.sendall(f"GET /stream{query} HTTP/1.0\r\n\r\n".encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self._headers()

    def _headers(self):
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def picture(self):
        """The bytes of the next JPEG; None at the end."""
        boundary = self._file.readline()
        if not boundary:
            return None
        if not boundary.strip():  # the end of the line after a picture
            boundary = self._file.readline()
        assert boundary.startswith(b"--picture")
        headers = self._headers()
        if "content-length" not in headers:
            return None
        assert headers["content-type"] == "image/jpeg"
        return self._file.read(int(headers["content-length"]))

    def close(self):
        self._file.close()
        self.socket.close()


@pytest.fixture
def watch():
    """Opens streams: ``watch(preview, "?view=rain")``; all are closed."""
    with contextlib.ExitStack() as stack:

        def start(preview, query="", **options):
            stream = Stream(preview.port, query, **options)
            stack.enter_context(contextlib.closing(stream))
            return stream

        yield start


@pytest.fixture(scope="session")
def decode():
    """The picture in the bytes of a JPEG file, `(H, W, 3)` uint8 BGR."""
    import cv2

    return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
