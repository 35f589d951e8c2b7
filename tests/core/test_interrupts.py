import os
import signal
import subprocess
import sys

import pytest

from derain.core.interrupts import Interrupts


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name
)
def test_the_first_signal_is_noted(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert interrupts.stopped() is None
        os.kill(os.getpid(), number)
        assert interrupts.received is number
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process():
    code = (
        "import os, signal; from derain.core.interrupts import Interrupts\n"
        "with Interrupts() as interrupts:\n"
        "    interrupts.stopped()\n"
        "    os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=180, check=False
    )
    assert result.returncode == -signal.SIGINT
    assert result.stdout == b""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name
)
def test_until_it_is_asked_for_a_signal_ends_the_program(number, capsys):
    with pytest.raises(SystemExit) as error, Interrupts():
        os.kill(os.getpid(), number)
    assert error.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}\n"


def test_under_nohup_the_terminal_may_go():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.stopped() is None
    finally:
        signal.signal(signal.SIGHUP, before)
