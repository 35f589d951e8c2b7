"""SIGTERM and SIGHUP leave nothing behind."""

import os
import signal
import subprocess
import sys

import pytest

from derain.core.interrupts import signals_unwind

# The command after a function that says where it is and goes on for ever.
_COMMAND = """
import signal, sys, time
import {module} as module
from derain.calibration.frame_store import FrameStore
from {package}.cli import main

def forever(*arguments, **options):
    with FrameStore():
        print("under way", flush=True)
        while True:
            time.sleep(0.1)

module.{function} = forever
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
main()
"""


@pytest.fixture
def stop(tmp_path):
    """Runs a command until ``forever`` is reached, and ends it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()

    def run(package, module, function, *options, by=signal.SIGTERM):
        code = _COMMAND.format(package=package, module=module, function=function)
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert process.stdout.readline() == "under way\n", process.communicate()
        assert list(temporary.glob("derain-calibration-*"))
        process.send_signal(by)
        _, said = process.communicate(timeout=120)
        left = list(temporary.glob("[!.]*"))  # ONNX Runtime itself leaves a .ses
        return process.returncode, said.splitlines()[-1], left

    return run


STOPPED = 143, "stopped by SIGTERM", []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_calibration_leaves_nothing_behind(stop, bundle, footage, tmp_path, number):
    options = (bundle(), "--source", footage, "-o", tmp_path / "c.json")
    package = "derain.calibration"
    stopped = stop(
        package, f"{package}.calibrate", "calibrate_graph", *options, by=number
    )
    assert stopped == (128 + number, f"stopped by {number.name}", [])
    assert not (tmp_path / "c.json").exists()


def test_export_leaves_nothing_behind(stop):
    pytest.importorskip("torch", reason="the exporter needs derain[export]")
    options = ("--model", "qsnet", "--int8", "--calibrate-on", "rainy.mp4")
    package = "derain.export"
    assert stop(package, f"{package}.pipeline", "export_bundle", *options) == STOPPED


def test_a_second_signal_is_not_caught():
    def terminate():
        with signals_unwind():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                during.append(signal.getsignal(signal.SIGTERM))

    during = [signal.getsignal(signal.SIGTERM)]
    with pytest.raises(SystemExit, match="143"):
        terminate()
    assert during[1:] == [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGTERM) == during[0]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts a program
    try:
        with signals_unwind():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
