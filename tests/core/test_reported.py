"""How a program ends while a thread of it is in a library."""

import subprocess
import sys

PROGRAM = """
import threading

import click
import cv2
import numpy as np

from derain.core.commands import Command


@click.command(cls=Command)
def main():
    image, started = np.zeros((900, 900, 3), np.uint8), threading.Event()

    def work():
        while True:
            cv2.blur(image, (9, 9))
            started.set()

    threading.Thread(target=work, daemon=True).start()
    started.wait()
    print("said", end="")
    raise SystemExit(7)


main()
"""


def test_a_thread_that_is_left_in_opencv_does_not_abort_the_program():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (7, "said", "")


def test_a_pool_that_was_never_closed_is_no_hang(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from derain.core.reported import reported\n"
        "pool = ThreadPoolExecutor(1)\n"
        "pool.submit(print, 'done').result()\n"
        "with reported(program=True):\n"
        "    sys.exit(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (3, "done\n")
