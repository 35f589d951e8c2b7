"""What systemd is told, over a socket like its own."""

import os
import socket
import subprocess
import sys

import pytest

from derain.runtime.telemetry.systemd import Notifier

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="no Unix sockets"
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(30)
        yield receiver


def received(manager):
    manager.setblocking(False)
    states = []
    try:
        while True:
            states.append(manager.recv(100).decode())
    except BlockingIOError:
        return states


def environment(manager, **more):
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_a_service_is_ready_and_stops_once(manager):
    notifier = Notifier(environment(manager))
    notifier.ready()
    notifier.heartbeat()  # no watchdog was asked for
    notifier.stopping()
    notifier.stopping()
    assert received(manager) == ["READY=1", "STOPPING=1"]


def test_the_watchdog_hears_three_beats_a_period(manager):
    clock = Clock()
    clock.now = 1000.0
    notifier = Notifier(environment(manager, WATCHDOG_USEC="3000000"), clock)
    for _ in range(300):
        notifier.heartbeat()
        clock.now += 0.01
    assert received(manager) == ["WATCHDOG=1"] * 3


def test_without_systemd_nothing_happens():
    notifier = Notifier({})
    notifier.ready()
    notifier.heartbeat()
    notifier.stopping()


def test_a_manager_that_is_gone_does_not_matter(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_an_abstract_address():
    name = f"derain-test-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(f"\0{name}")
        except OSError:
            pytest.skip("no abstract addresses here")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert received(receiver) == ["READY=1"]


def test_derain_run_tells_that_it_is_ready(manager, bundles, picture_folder):
    command = [sys.executable, "-m", "derain.runtime.cli", str(bundles("darken"))]
    command += ["--source", str(picture_folder()), "--sink", "null:", "--quiet"]
    more = environment(manager, WATCHDOG_USEC="3000000", PATH="")
    subprocess.run(command, env=more, check=True, capture_output=True, timeout=120)
    states = received(manager)
    assert states[0] == "READY=1"
    assert "WATCHDOG=1" in states


def test_the_example_unit_fits_the_command():
    from pathlib import Path

    from derain.runtime.cli import main

    unit = Path(__file__).parents[3] / "docs" / "derain-run.service"
    settings = dict(
        line.split("=", 1)
        for line in unit.read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert settings["Type"] == "notify"
    assert settings["SuccessExitStatus"] == str(128 + 15)
    program, option, _ = settings["ExecStart"].split()
    assert program.endswith("/derain-run")
    assert option in [name for each in main.params for name in each.opts]
