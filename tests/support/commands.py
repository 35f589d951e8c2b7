"""What commands say and leave."""

import re


def content(folder):
    """What is in a folder: the bytes of every file, hidden ones too, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_line_error(result, pattern):
    """Assert that a command failed with one line that matches, and return it."""
    assert result.returncode == 1, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert re.search(pattern, lines[0]), lines[0]
    return lines[0]
