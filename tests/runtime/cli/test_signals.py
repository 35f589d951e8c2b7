"""A run that is stopped or killed leaves what it has done."""

import re
import signal
import subprocess
import sys
from fractions import Fraction

import pytest

STOPS = [signal.SIGINT, signal.SIGTERM]


def start(bundle, source, sink, until, *options):
    """A run that takes some seconds, once it has written the first of them."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "derain.runtime.cli", bundle, "--quiet"),
            *("--source", source, "--sink", sink, *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def has_written():
        assert process.poll() is None, process.communicate()
        # A second fragment has begun: the first one is whole.
        return any(
            part.read_bytes().count(b"moof") >= 2
            for part in sink.parent.glob(f"{sink.stem}.partial-*{sink.suffix}")
        )

    until(has_written)
    return process


@pytest.fixture(scope="module")
def long_video(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("long")
    return make_video(folder / "in.mp4", 600, audio="aac")


@pytest.mark.parametrize("number", STOPS, ids=lambda n: n.name)
def test_a_signal_leaves_a_playable_file(
    bundles, tmp_path, long_video, play, number, until
):
    out, kept = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    out.write_text("precious")
    process = start(bundles("slow"), long_video, out, until, "--force")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=180)
    assert sorted(tmp_path.iterdir()) == [out, kept]
    assert out.read_text() == "precious"
    assert process.returncode == 128 + number
    count = int(
        re.fullmatch(rf"stopped by {number.name} after (\d+) frames\n", stderr)[1]
    )
    assert f"frames     {count} in " in stdout
    assert f"result     {kept}" in stdout
    played = play(kept)
    assert 0 < count == len(played.times) < 600
    assert played.times == [Fraction(i, 25) for i in range(count)]
    assert count / 25 - 0.1 < played.audio_times[-1] < count / 25


def test_when_the_terminal_goes_the_run_goes_on(bundles, tmp_path, long_video, until):
    out = tmp_path / "out.mp4"
    process = start(bundles("any"), long_video, out, until)
    process.send_signal(signal.SIGHUP)
    _, stderr = process.communicate(timeout=180)
    assert stderr == "note: SIGHUP: the run goes on; SIGTERM ends it\n"
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_killed_run_leaves_a_playable_file_beside(
    bundles, tmp_path, long_video, until
):
    av = pytest.importorskip("av")
    out = tmp_path / "out.mp4"
    out.write_text("precious")
    process = start(bundles("slow"), long_video, out, until, "--force")
    process.kill()
    process.communicate(timeout=180)
    assert out.read_text() == "precious"
    (left,) = set(tmp_path.iterdir()) - {out}
    assert re.fullmatch(r"out\.partial-[0-9a-f]{8}\.mp4", left.name)
    with av.open(str(left)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert len(times) >= 25  # the fragment of the first second


def test_an_earlier_part_is_not_overwritten(bundles, tmp_path, long_video, until):
    (tmp_path / "out.partial.mp4").write_text("precious")
    process = start(bundles("slow"), long_video, tmp_path / "out.mp4", until)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=180)
    assert (tmp_path / "out.partial.mp4").read_text() == "precious"
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "out.partial.mp4"}
    assert f"result     {left}" in stdout


@pytest.mark.parametrize("number", STOPS, ids=lambda n: n.name)
def test_a_signal_ends_the_wait_for_a_writer(bundles, tmp_path, number, until):
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-X", "importtime", "-m", "derain.runtime.cli"),
                *(bundles("any"), "--source", "-", "--sink", "null:"),
            ],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
        )
    until(lambda: b"ffmpeg_stream" in log.read_bytes())  # it is opened next
    process.send_signal(number)
    assert process.wait(180) == 128 + number
    process.stdin.close()


@pytest.mark.parametrize("number", STOPS, ids=lambda n: n.name)
def test_a_live_run_ends_when_somebody_stops_it(bundles, tmp_path, number, until):
    """It has no other end: the recording is whole."""
    out = tmp_path / "out.mp4"
    source = "test://rain?size=64x48&seconds=1&live=1"
    process = start(bundles("any"), source, out, until)
    process.send_signal(number)
    process.communicate(timeout=180)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == [out]
