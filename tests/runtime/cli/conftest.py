"""What ``derain-run`` says when it fails, and code in a process of its own."""

import re
import subprocess
import sys

import pytest

# One line, and no traceback; behind the one about the backend, once that is open.
ERROR = r"\A(backend: [^\n]+\n)?Error: [^\n]+\n\Z"


@pytest.fixture(scope="session")
def one_line():
    """Whether a text is one line that says ``Error: ``, and no traceback."""
    return lambda text: re.search(ERROR, text)


@pytest.fixture(scope="session")
def failed(one_line):
    """Whether a run ended with one line, and status 1: ``failed(result, text)``."""

    def check(result, message):
        assert one_line(result.stderr), result.stderr
        assert re.search(message, result.stderr), result.stderr
        return result.exit_code == 1

    return check


@pytest.fixture(scope="session")
def python():
    """Runs code in a process of its own: ``python(code, *arguments)``."""

    def run(code, *arguments):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run
