"""Standard input and output, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from derain.core.errors import MediaError
from derain.core.pictures import read_picture
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sources import open_source

READ = """
import sys
from derain.runtime.video.sources import open_source
from derain.core.pictures import write_picture
from pathlib import Path
source = open_source(sys.argv[1])
print(source.info.size, source.info.fps, source.info.live)
for frame in source:
    write_picture(Path(sys.argv[2]) / f"{frame.index}.png", frame.image)
    print(frame.time)
"""
WRITE = """
import sys
from fractions import Fraction
import numpy
from derain.runtime.video.frames import Frame, SourceInfo
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
info = SourceInfo(description="", time_base=Fraction(1, 30), fps=Fraction(30))
sink = open_sink("-", info, SinkOptions())
for path in sys.argv[1:]:
    sink.write(Frame(numpy.load(path), 0, Fraction(0)))
    print("not in the video")
sink.close()
print("nor this")
"""


def read(uri, data, folder):
    done = subprocess.run(
        [sys.executable, "-c", READ, uri, str(folder)],
        input=data,
        capture_output=True,
        timeout=180,
        check=True,
    )
    first, *times = done.stdout.decode().splitlines()
    return first, times


def write(tmp_path, images):
    paths = []
    for index, image in enumerate(images):
        paths.append(tmp_path / f"{index}.npy")
        np.save(paths[-1], image)
    return subprocess.run(
        [sys.executable, "-c", WRITE, *map(str, paths)],
        capture_output=True,
        timeout=180,
        check=True,
    )


def test_y4m_goes_out_and_comes_in(tmp_path, image, closeness):
    sent = [image(shift=shift) for shift in range(3)]
    done = write(tmp_path, sent)
    first, times = read("-", done.stdout, tmp_path)
    assert first == "64x48 30 False"
    assert times == ["0", "1/30", "1/15"]
    for index, picture in enumerate(sent):
        # The colours of a smooth picture, after 4:2:0 and back.
        assert closeness(read_picture(tmp_path / f"{index}.png"), picture) <= 8


def test_nothing_else_is_on_standard_output(tmp_path, image):
    done = write(tmp_path, [image(), image()])
    header, _, rest = done.stdout.partition(b"\n")
    assert header == b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED"
    assert len(rest) == 2 * (len(b"FRAME\n") + 64 * 48 * 3 // 2)
    assert done.stderr.split(b"\n")[-2:] == [b"nor this", b""]


def test_a_reader_that_leaves_is_an_error(tmp_path, image):
    np.save(tmp_path / "0.npy", image())
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, *[str(tmp_path / "0.npy")] * 40],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    writer.stdout.close()
    errors = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait(180) == 1
    assert b"standard output cannot be written: Broken pipe" in errors


def test_raw_frames(tmp_path, image):
    sent = [image(shift=shift) for shift in range(2)]
    data = b"".join(each.tobytes() for each in sent)
    first, times = read("-?size=64x48&fps=10&format=bgr24", data, tmp_path)
    assert first == "64x48 10 False"
    assert times == ["0", "1/10"]
    for index, picture in enumerate(sent):
        np.testing.assert_array_equal(read_picture(tmp_path / f"{index}.png"), picture)


def test_raw_nv12(tmp_path):
    grey = bytes([126] * 64 * 48 + [128] * 64 * 24)  # in limited range
    read("-?size=64x48&format=nv12", grey, tmp_path)
    levels = read_picture(tmp_path / "0.png")
    np.testing.assert_allclose(levels, round((126 - 16) * 255 / 219), atol=1)


def test_what_is_no_video(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", READ, "-", str(tmp_path)],
        input=b"hello",
        capture_output=True,
        timeout=180,
        check=False,
    )
    last = done.stderr.decode().splitlines()[-1]
    assert "MediaError: standard input cannot be opened" in last


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("-?colour=red", "is not of the form -"),
        ("-?size=big", "is not of the form -"),
        ("-?fps=0", "is not a rate"),
        ("-?size=8x8&format=pink", "format 'pink' is not one of bgr24"),
        ("-?fps=25", "Y4M says its rate"),
        ("-?live=2", "live must be 0 or 1"),
    ],
)
def test_senseless_fields(uri, reason):
    with pytest.raises(MediaError, match=reason):
        open_source(uri)


def test_a_terminal_is_refused(monkeypatch):
    monkeypatch.setattr("os.isatty", lambda number: True)
    info = open_source("test://rain?size=8x8").info
    with pytest.raises(MediaError, match=r"standard output is a terminal"):
        open_sink("-", info, SinkOptions())


def test_derain_run_from_pipe_to_pipe(tmp_path, bundles, image, closeness):
    done = write(tmp_path, [image()])
    command = [
        *(sys.executable, "-m", "derain.runtime.cli", str(bundles("any-identity"))),
        *("--source", "-", "--sink", "-"),
    ]
    run = subprocess.run(
        command, input=done.stdout, capture_output=True, timeout=180, check=True
    )
    assert run.stdout.startswith(b"YUV4MPEG2 W64 H48 F30:1 ")
    assert len(run.stdout.partition(b"FRAME\n")[2]) == 64 * 48 * 3 // 2
    read("-", run.stdout, tmp_path)
    assert closeness(read_picture(Path(tmp_path / "0.png")), image()) <= 12
