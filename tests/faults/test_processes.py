"""What is wrong around a command: its streams, its folder, its locale, its packages."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from derain.core.errors import MediaError
from derain.core.reported import lacks_memory, told
from support.faults import COMMANDS, Fault

pytestmark = pytest.mark.slow  # a process each

RUN = ("derain-run", "b", "--source", "in.png", "--sink", "o.png")
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
FULL = '"$@" >/dev/full'
# A mount of one's own, where the kernel lets users have one.
READ_ONLY = (
    "unshare -rm bash -c 'mount --bind . . && mount -o remount,ro,bind . && "
    'cd "$PWD" && exec "$@"\' bash "$@"'
)
GONE = 'mkdir gone && cd gone && rmdir ../gone && "$@"'


def _broken(package, code):
    """A package that is there, and fails when it is imported."""
    return {f"site/{package}/__init__.py": code}


EXPORT = ("derain-export", "--model", "qsnet", "--random-weights")
# As if it had never been installed.
NO_TORCH = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Missing())
"""
NO_LIBRARY = 'raise ImportError("libX.so.1: cannot open shared object file")'
NO_FILE = 'raise OSError("libX.so.1: cannot open shared object file")'

FAULTS = [
    *(
        Fault(
            name=f"full-output-{command}-{option.strip('-')}",
            run=(command, option),
            shell=FULL,
            says="standard output cannot be written: No space left on device",
        )
        for command, option in (
            *((command, "--help") for command in COMMANDS),
            ("derain-run", "--version"),
        )
    ),
    Fault(
        name="full-output-json",
        run=(*RUN, "--json"),
        shell=FULL,
        says="standard output cannot be written: No space left on device",
        left=("o.png",),
    ),
    Fault(name="full-sink", run=(*RUN[:-1], "/dev/full"), says="/dev/full"),
    Fault(
        name="file-too-large",
        run=RUN,
        shell='ulimit -f 1; trap "" XFSZ; "$@"',
        says=r"o\.png cannot be written: File too large",
    ),
    *(
        Fault(
            name=f"folder-gone-{run[0]}",
            run=run,
            shell=GONE,
            says="the current folder is gone",
        )
        for run in (
            RUN,
            ("derain-export", "--model", "qsnet", "--size", "32x32"),
            ("derain-compile", "b"),
            ("derain-eval", "--bundle", "b", "--pairs", "pairs"),
            ("derain-calibrate", "b", "--source", "in.png", "-o", "c.json"),
            ("derain-bench", "--bundle", "b"),
            ("derain-train", "--model", "qsnet", "--pairs", "pairs", "--steps", "1"),
        )
    ),
    *(
        Fault(
            name=f"broken-{package}-{kind}",
            run=run,
            given=_broken(package, code),
            environment={"PYTHONPATH": "site"},
            says=rf"{package} is installed but does not load: libX.*--force-reinstall",
        )
        for package, run in (
            ("numpy", RUN),
            ("cv2", RUN),
            ("onnxruntime", RUN),
            ("av", (*RUN[:2], "--source", "in.mp4", *RUN[4:])),
            ("torch", ("derain-export", "--model", "qsnet", "--size", "32x32")),
            ("onnx", ("derain-export", "--model", "qsnet", "--size", "32x32")),
            ("onnxscript", ("derain-export", "--model", "qsnet", "--size", "32x32")),
            ("torch", ("derain-eval", "--model", "qsnet", "--pairs", "pairs")),
            (
                "torch",
                ("derain-train", "--model", "qsnet", "--pairs", "p", "--steps", "1"),
            ),
            ("uvicorn", (*RUN[:4], "--preview", "127.0.0.1:0")),
            ("openvino", (*RUN, "--backend", "openvino")),
        )
        for kind, code in (("import", NO_LIBRARY), ("os", NO_FILE))
        if (package, kind) != ("onnxscript", "os")
    ),
    *(
        Fault(
            name=f"no-torch-{run[0]}-{run[1].strip('-')}",
            run=run,
            given={"site/sitecustomize.py": NO_TORCH},
            environment={"PYTHONPATH": "site"},
            says=r"torch is not installed; run: pip install 'derain\[(export|train)\]'",
        )
        for run in (
            ("derain-eval", "--model", "qsnet", "--pairs", "pairs"),
            ("derain-eval", "--bundle", "b", "--pairs", "pairs"),
            (*EXPORT, "--size", "32x32"),
            ("derain-train", "--model", "qsnet", "--pairs", "pairs", "--steps", "1"),
        )
    ),
    *(
        Fault(
            name=f"read-only-mount-{run[0]}",
            run=run,
            shell=READ_ONLY,
            says="(?i)read-only",
        )
        for run in (
            RUN,
            (*RUN[:-1], "o.mp4"),
            (*RUN[:-1], "folder"),
            (*EXPORT, "--size", "32x32", "-o", "e"),
            ("derain-calibrate", "b", "--source", "in.png", "-o", "c.json"),
            ("derain-bench", "--bundle", "b", "-o", "r.json"),
            ("derain-eval", "--bundle", "b", "--pairs", "pairs", "--worst", "w.png"),
            ("derain-train", "--model", "qsnet", "--pairs", "pairs", "--steps", "1"),
        )
    ),
    Fault(
        name="matplotlib-configuration",
        run=("derain-bench", "--bundle", "b", "--plots", "p"),
        environment={"MPLBACKEND": "nonsense"},
        says="matplotlib is installed but does not load: .*nonsense",
    ),
    Fault(
        name="watchdog-superscript",
        run=(*RUN[:2], "--source", "no.png", *RUN[4:]),
        environment={"WATCHDOG_USEC": "²", "NOTIFY_SOCKET": "@" + "n" * 200},
        says="no.png",
    ),
    Fault(
        name="notify-socket-too-long",
        run=(*RUN[:2], "--source", "no.png", *RUN[4:]),
        environment={"NOTIFY_SOCKET": "/" + "n" * 2000},
        says="no.png",
    ),
    *(
        Fault(
            name=f"locale-{name}",
            run=("derain-run", "bé", "--source", "in-ü-漢.png", "--sink", "o.png"),
            environment={"LC_ALL": name, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            says=r"not a bundle",
        )
        for name in ("POSIX", "C", "C.UTF-8", "no_such.locale")
    ),
    Fault(
        name="locale-toml",
        run=("derain-run", "--config", "f.toml"),
        given={"f.toml": 'bundle = "bé"\nsource = "in.png"\nsink = "o.png"\n'},
        environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        says=r"b.*not a bundle|LC_ALL=C\.UTF-8",
    ),
    *(
        Fault(
            name=f"memory-{limit}-{run[0]}",
            run=run,
            shell=f'ulimit -v {limit}; "$@"',
            environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            says="(?i)memory",
        )
        for limit, run in (
            (400_000, RUN),
            (600_000, ("derain-eval", "--bundle", "b", "--pairs", "pairs")),
            (
                2_000_000,
                (
                    *RUN[:2],
                    *("--source", "test://rain?size=32000x32000", "--sink", "null:"),
                ),
            ),
            (2_500_000, (*EXPORT, "--size", "4096x4096", "-o", "e")),
            (500_000, ("derain-bench", "--bundle", "b")),
        )
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_is_around_a_command_is_told(fault, place):
    if fault.shell == READ_ONLY:
        tried = subprocess.run(
            ["bash", "-c", READ_ONLY, "bash", "true"], cwd=place, capture_output=True
        )
        if tried.returncode:
            pytest.skip(f"no mounts of one's own here: {tried.stderr.decode()}")
    fault.check(place)


@pytest.mark.parametrize(
    "shell",
    ['"$@" >&-', '"$@" 2>&-', '"$@" <&-', '"$@" <&- >&- 2>&-', '"$@" 2>/dev/full'],
)
def test_a_closed_stream_stops_no_run(place, shell):
    words = [sys.executable, "-m", COMMANDS["derain-run"], *RUN[1:]]
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *words],
        cwd=place,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    assert (place / "o.png").stat().st_size > 1000


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_gets_no_traceback(command, place):
    words = [sys.executable, "-m", COMMANDS[command], "--help"]
    process = subprocess.Popen(
        words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(180)
    assert errors == b""


@pytest.mark.parametrize(
    "name", [b"\xff.png", "ü-漢.png".encode(), b"a\nb.png", b"a\x1b[31m.png", b"-q.png"]
)
@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_files_of_any_name_are_derained(place, name, locale):
    shutil.copy(place / "in.png", os.fsencode(place) + b"/" + name)
    shutil.copytree(os.fsencode(place / "b"), os.fsencode(place) + b"/bundle-" + name)
    words = [sys.executable, "-m", COMMANDS["derain-run"], b"bundle-" + name]
    done = subprocess.run(
        [*words, b"--source", b"./" + name, b"--sink", b"out-" + name],
        cwd=place,
        capture_output=True,
        timeout=180,
        check=False,
        env={
            **os.environ,
            "LC_ALL": locale,
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
    )
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert os.path.getsize(os.fsencode(place) + b"/out-" + name) > 1000  # noqa: PTH202


def test_ctrl_c_ends_a_compilation_in_one_line(place, monkeypatch):
    from derain.runtime.tensorrt import compile as compiling

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiling, "compile_bundle", interrupted)
    says = "stopped by SIGINT; b is as it was"
    Fault(name="ctrl-c", run=("derain-compile", "b"), says=says).check(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_writer_that_stalls_can_be_stopped(place, number, until):
    """What it wrote is kept; the run waits for the rest until somebody stops it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", COMMANDS["derain-run"], "b", "--quiet"),
            *("--source", "-?size=64x48&format=bgr24&fps=25&live=1", "--sink", "out"),
        ],
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(bytes(64 * 48 * 3) + bytes(1000))  # one, and part of another
    process.stdin.flush()
    until(lambda: (place / "out" / "000000.png").is_file())
    process.send_signal(number)
    assert process.wait(180) == 128 + number  # its standard input is still open
    _, errors = process.communicate()
    assert errors.decode() == f"stopped by {number.name} after 1 frames\n"
    assert [path.name for path in (place / "out").iterdir()] == ["000000.png"]


def test_a_camera_that_is_busy_is_no_lack_of_memory():
    """EAGAIN: of a thread that cannot start it is one, of a source it is not."""
    busy = MediaError("/dev/video0: Resource temporarily unavailable")
    assert told(busy) == str(busy)
    assert lacks_memory(RuntimeError("Resource temporarily unavailable"))
