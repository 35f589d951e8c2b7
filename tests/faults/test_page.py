"""What viewers do to the page, who may know no token: it goes on, and says nothing."""

import contextlib
import resource
import socket
import subprocess
import sys

import pytest

pytest.importorskip("uvicorn", reason="needs the extra preview")

import derain
from derain.runtime.preview.server import PreviewServer
from derain.runtime.telemetry.metrics_server import MetricsServer
from derain.runtime.telemetry.statistics import Statistics

TOKEN = "long-enough"
FINE = b"GET /stats?token=long-enough HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
REQUESTS = {
    "nothing": b"",
    "no-request": b"hello\r\n\r\n",
    "zeros": bytes(5000),
    "tls": b"\x16\x03\x01\x02\x00\x01" + bytes(range(200)),
    "endless-line": b"GET /" + b"a" * 100_000,
    "endless-headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host-nul": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "host-idna": b"GET / HTTP/1.1\r\nHost: xn--\xff..\r\n\r\n",
    "host-port-alone": b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "version-0.9": b"GET /\r\n\r\n",
    "old-with-close": b"GET / HTTP/1.0\r\n\r\nmore\r\n\r\n",
    "bad-length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "huge-length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: "
    + b"9" * 500
    + b"\r\n\r\n",
    "two-lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "bad-chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "after-the-end": FINE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    + b"junk\r\n\r\n",
    "junk-behind": FINE + b"\0\0\0 junk\r\n\r\n",
    "pipelined": FINE * 20,
    "upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "expect": GET + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "cookie": b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xff=\xfe; a\r\n\r\n",
    "percent": b"GET /%ff%00?token=%ff%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://else.where/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT else.where:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "body": (POST + b"Content-Length: 10\r\n\r\n0123456789") * 3,
}


@pytest.fixture(scope="module")
def page():
    with contextlib.closing(
        PreviewServer(Statistics(), "127.0.0.1", 0, TOKEN)
    ) as server:
        yield server


def _asked(port, request, *, reset=False):
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(request)
        if reset:
            return b""
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            return client.recv(100)
    return b""


@pytest.mark.parametrize("name", REQUESTS)
def test_no_request_ends_the_page_or_is_told(page, name, capfd, caplog):
    with contextlib.suppress(ConnectionError):
        _asked(page.port, REQUESTS[name], reset=name == "nothing")
    answer = b""
    while b"200" not in answer:  # the one before may not be gone yet
        answer = _asked(
            page.port, FINE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("kind", ["page", "metrics"])
def test_idle_connections_leave_the_run_its_descriptors(kind, until):
    """1,200 of them, who know no token, under a limit of 256."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    child = r"""
import contextlib, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from derain.runtime.preview.server import PreviewServer
from derain.runtime.telemetry.metrics_server import MetricsServer
from derain.runtime.telemetry.statistics import Statistics
page = PreviewServer(Statistics(), "127.0.0.1", 0, "long-enough")
with MetricsServer(Statistics(), "127.0.0.1", 0) as metrics:
    print(page.port, metrics.port, flush=True)
    for line in sys.stdin:
        with contextlib.ExitStack() as stack:  # what a run may want to open meanwhile
            for _ in range(100):
                stack.enter_context(open("/dev/null"))
        print("fine", flush=True)
page.close()
"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    try:
        with (
            subprocess.Popen(
                [sys.executable, "-c", child],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
            contextlib.ExitStack() as stack,
        ):
            ports = dict(
                zip(("page", "metrics"), process.stdout.readline().split(), strict=True)
            )
            for index in range(1200):
                client = socket.socket()
                stack.callback(client.close)
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", int(ports[kind])))
                if index % 300 == 299:
                    process.stdin.write("\n")
                    process.stdin.flush()
                    assert process.stdout.readline() == "fine\n"
            request = FINE if kind == "page" else b"GET /metrics HTTP/1.0\r\n\r\n"
            stack.close()
            until(lambda: b"200" in _asked(int(ports[kind]), request))
            process.stdin.close()
            assert process.stderr.read() == ""
            assert process.wait(60) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    "address",
    [
        *(":80", "80", "host", "host:", "host:99999", "host:²", "a b:80", "\0:80"),
        *("a\0b:80", "[::1:80:", "x" * 300 + ":80", "-:-1", "h:0x10", "ü.example:80"),
        *(("a", -1), ("a", 70000), ("", 80), ("a\0", 80)),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("option", ["preview", "metrics"])
def test_what_is_no_address_is_refused(option, address):
    with pytest.raises(derain.DerainError, match="is not an address such as"):
        derain.run("b", "in.png", "null:", **{option: address})


@pytest.mark.parametrize("host", ["a..b", "no.such.invalid", "300.1.1.1"])
@pytest.mark.parametrize("kind", [PreviewServer, MetricsServer])
def test_hosts_that_are_no_hosts(kind, host):
    with pytest.raises(derain.DerainError, match="cannot be served at"):
        kind(Statistics(), host, 0)
