"""Whatever happens to the process with the native code is one line here."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from derain.core.errors import EngineError
from derain.runtime.tensorrt import process
from support.commands import content, one_line_error

REQUEST = {"action": "check", "backend": "tensorrt-rtx", "model": "m"}


@pytest.fixture
def child(monkeypatch):
    """Makes this code the other process."""

    def replace(code):
        monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", code))

    return replace


def test_the_result_is_returned_and_events_are_passed_on(child):
    child('print(\'{"progress": [0.5, "x"]}\\n{"result": {"a": 1}}\')')
    events = []
    assert process.run_child(REQUEST, events.append) == {"a": 1}
    assert [event for event in events if event] == [{"progress": [0.5, "x"]}]


def test_the_request_arrives(child):
    child("import sys; print('{\"result\":', sys.stdin.readline().strip(), '}')")
    assert process.run_child(REQUEST) == REQUEST


def test_an_error_there_is_an_error_here(child):
    child('print(\'{"error": "no such thing"}\')')
    with pytest.raises(EngineError, match=r"^no such thing$"):
        process.run_child(REQUEST)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SIGSEGV", r"^tensorrt-rtx crashed \(SIGSEGV\): .*its last words: 2nd$"),
        ("SIGABRT", r"^tensorrt-rtx crashed \(SIGABRT\)"),
        ("SIGKILL", r"was killed \(SIGKILL\), as Linux does when memory runs out"),
    ],
)
def test_a_signal_is_named(child, name, says):
    child(
        "import os, signal, sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "print('1st', '2nd', sep='\\n', file=sys.stderr, flush=True)\n"
        f"os.kill(os.getpid(), signal.{name})"
    )
    with pytest.raises(EngineError, match=says):
        process.run_child(REQUEST)


def test_an_end_without_an_answer(child):
    child("raise SystemExit('gave up')")
    with pytest.raises(
        EngineError, match="ended with status 1; its last words: gave up"
    ):
        process.run_child(REQUEST)


def test_what_an_event_raises_ends_the_process(child):
    child(
        "import os, time\nprint('{\"pid\": %d}' % os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    pids = []

    def stop(event):
        if event:
            pids.append(event["pid"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run_child(REQUEST, stop)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_time_goes_on_without_events(child, tmp_path):
    ticked = tmp_path / "ticked"
    child(
        "import time\nfrom pathlib import Path\nend = time.monotonic() + 120\n"
        f"while not Path({str(ticked)!r}).exists() and time.monotonic() < end:\n"
        "    time.sleep(0.01)\nprint('{\"result\": {}}')"
    )
    events = []

    def note(event):
        events.append(event)
        ticked.touch()

    process.run_child(REQUEST, note)
    assert {} in events


def test_a_process_that_does_nothing_is_given_up(child, monkeypatch):
    monkeypatch.setattr(process, "_STUCK_S", 1.0)
    child("import time; time.sleep(600)")
    with pytest.raises(EngineError, match="does nothing any more: no processor time"):
        process.run_child(REQUEST)


def test_a_process_that_works_silently_is_waited_for(child, monkeypatch):
    """By a clock that runs fast: each look is half the limit after the one before."""
    looks = itertools.count()

    class Clock:
        def monotonic(self):
            return next(looks) * process._STUCK_S / 2

    monkeypatch.setattr(process, "time", Clock())
    watch = process._Watch(os.getpid())
    for _ in range(20):
        used = time.process_time()
        while time.process_time() < used + 0.02:  # the kernel counts hundredths
            pass
        assert not watch.is_stuck()
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as idle:
        watch = process._Watch(idle.pid)
        assert any(watch.is_stuck() for _ in range(1000))  # when it has started


@pytest.mark.usefixtures("rtx")
def test_a_crash_of_the_real_compiler(make_bundle, compile_command):

    folder = make_bundle("attention")
    pytest.importorskip("onnx")
    before = content(folder)
    one_line_error(compile_command(folder), r"tensorrt-rtx crashed \(SIG\w+\)")
    assert content(folder) == before


# Starts the command with a compiler that never ends, and says its process.
_FOREVER = """
import os, time
from pathlib import Path
from derain.runtime.tensorrt import child
def build(*arguments):
    Path(os.environ["BUILDING"]).touch()
    time.sleep(600)
child.build = build
child.main()
"""
_COMPILE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup ignores it
from derain.runtime.tensorrt import process
from derain.runtime.tensorrt.compile_cli import main
process._COMMAND = (sys.executable, "-c", sys.argv.pop())
popen = process.subprocess.Popen
def start(*arguments, **options):
    running = popen(*arguments, **options)
    print(running.pid, flush=True)
    return running
process.subprocess.Popen = start
main()
"""


def _alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_build_leaves_nothing(make_bundle, name, tmp_path, until):
    folder = make_bundle()
    before = content(folder)
    options = ["--backend", "tensorrt-rtx", "--compute-capability", "8.6"]
    command = [sys.executable, "-c", _COMPILE, str(folder), *options, _FOREVER]
    building = tmp_path / "building"
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BUILDING": str(building)},
    )
    with running:
        builder = int(running.stdout.readline())
        until(building.exists)
        assert _alive(builder)
        running.send_signal(getattr(signal, name))
        _, said = running.communicate(timeout=120)
    until(lambda: not _alive(builder))
    assert content(folder) == before
    if name == "SIGINT":
        assert running.returncode == 1
        assert said == f"Error: stopped by SIGINT; {folder} is as it was\n"
