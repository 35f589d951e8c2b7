import io
from functools import partial

import pytest

from derain.core.progress import Progress, frames_line, phase_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("done", "total", "seconds", "wanted"),
    [
        (
            30,
            60,
            10,
            "[" + "#" * 15 + "-" * 15 + "] 30/60 frames, 3.0 frames/s, 0:10 left",
        ),
        (60, 60, 10, "[" + "#" * 30 + "] 60/60 frames, 6.0 frames/s, 0:00 left"),
        (61, 60, 10, "[" + "#" * 30 + "] 61/61 frames, 6.1 frames/s, 0:00 left"),
        (1, 7201, 1, "[" + "-" * 30 + "] 1/7201 frames, 1.0 frames/s, 2:00:00 left"),
        (30, None, 10, "30 frames, 3.0 frames/s"),
        (0, 10, 0, "[" + "-" * 30 + "] 0/10 frames, 0.0 frames/s"),
    ],
)
def test_a_line_of_frames(done, total, seconds, wanted):
    assert frames_line(done, total, seconds) == wanted


def test_a_terminal_line_is_rewritten_in_place():
    clock, out = Clock(), Terminal()
    progress = Progress(out, clock)
    for done in range(1, 101):
        clock.now += 0.05
        progress.update(partial(frames_line, done, 100))
    progress.close()
    text = out.getvalue()
    assert text.count("\r") > 30
    assert text.count("\n") == 1
    assert text.endswith("100/100 frames, 20.0 frames/s, 0:00 left\n")


def test_a_log_gets_a_line_every_five_seconds():
    clock, out = Clock(), io.StringIO()
    progress = Progress(out, clock)
    for done in range(1, 101):
        clock.now += 0.25
        progress.update(partial(frames_line, done, 100))
    progress.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 5
    assert "\r" not in out.getvalue()
    assert lines[0].endswith("20/100 frames, 4.0 frames/s, 0:20 left")


def test_a_short_run_says_nothing_in_a_log():
    out = io.StringIO()
    progress = Progress(out, Clock())
    progress.update(partial(frames_line, 3, 3))
    progress.close()
    assert out.getvalue() == ""


def test_a_line_of_phases():
    assert phase_line(0.5, "Timing", 61.0) == (
        "[" + "#" * 15 + "-" * 15 + "]  50% 1:01 Timing"
    )


def test_nothing_is_shown_unless_a_command_shows_it(capsys):
    progress = Progress(clock=Clock())
    progress._clock.now = 60.0
    progress.update(partial(frames_line, 3, 3))
    progress.close()
    assert capsys.readouterr().err == ""
