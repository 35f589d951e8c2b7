"""A run that is stopped or killed leaves what it has done."""

import re
import signal
import subprocess
import sys
from fractions import Fraction

import pytest


def start(bundle, source, sink, until):
    """A run that takes some seconds, once it has written the first of them."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "derain.runtime.cli", bundle, "--quiet"),
            *("--source", source, "--sink", sink),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def has_written():
        assert process.poll() is None, process.communicate()
        # A second fragment has begun: the first one is whole.
        return sink.exists() and sink.read_bytes().count(b"moof") >= 2

    until(has_written)
    return process


@pytest.fixture(scope="module")
def long_video(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("long")
    return make_video(folder / "in.mp4", 600, audio="aac")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_a_signal_leaves_a_playable_file(
    bundles, tmp_path, long_video, play, number, until
):
    out = tmp_path / "out.mp4"
    process = start(bundles("slow"), long_video, out, until)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 128 + number
    count = int(
        re.fullmatch(rf"stopped by {number.name} after (\d+) frames\n", stderr)[1]
    )
    assert f"frames     {count} in " in stdout
    played = play(out)
    assert 0 < count == len(played.times) < 600
    assert played.times == [Fraction(i, 25) for i in range(count)]
    assert count / 25 - 0.1 < played.audio_times[-1] < count / 25


def test_a_killed_run_leaves_a_playable_file(bundles, tmp_path, long_video, until):
    av = pytest.importorskip("av")
    out = tmp_path / "out.mp4"
    process = start(bundles("slow"), long_video, out, until)
    process.kill()
    process.communicate(timeout=180)
    with av.open(str(out)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert len(times) >= 25  # the fragment of the first second
