import os
import signal
import subprocess
import sys

import pytest

from derain.core.interrupts import Interrupts


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_the_first_signal_is_noted(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert interrupts.received is None
        os.kill(os.getpid(), number)
        assert interrupts.received is number
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process():
    code = (
        "import os, signal; from derain.core.interrupts import Interrupts\n"
        "with Interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=180, check=False
    )
    assert result.returncode == -signal.SIGINT
    assert result.stdout == b""
