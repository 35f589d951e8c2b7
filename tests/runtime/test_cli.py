"""``derain-run`` as people use it: files in, files out, and what goes wrong."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from derain.runtime.metrics import psnr_db
from derain.runtime.pictures import read_picture, write_picture
from derain.runtime.sizes import Size
from derain.runtime.video import safe_file

ERROR = r"\AError: [^\n]+\n\Z"  # one line, and no traceback


def failed(result, message):
    """Whether a run ended with exit status 1 and one line that has `message` in it."""
    assert re.search(ERROR, result.stderr), result.stderr
    assert re.search(message, result.stderr), result.stderr
    return result.exit_code == 1


def python(code, *arguments):
    """Runs `code` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_picture_to_picture(invoke, bundles, tmp_path, image):
    write_picture(tmp_path / "in.png", image())
    result = invoke(
        bundles("darken"), "--source", tmp_path / "in.png", "--sink", tmp_path / "o.png"
    )
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(read_picture(tmp_path / "o.png"), image() >> 1)


def test_folder_to_folder_keeps_the_names(invoke, bundles, tmp_path, picture_folder):
    folder = picture_folder(count=12)
    (folder / "notes.txt").write_text("not a picture")
    out = tmp_path / "out"
    result = invoke(bundles("darken"), "--source", folder, "--sink", out)
    assert result.exit_code == 0, result.stderr
    assert {p.name for p in out.iterdir()} == {f"frame{i}.png" for i in range(12)}
    for path in out.iterdir():
        np.testing.assert_array_equal(
            read_picture(path), read_picture(folder / path.name) >> 1
        )


def test_video_to_video(invoke, bundles, tmp_path, make_video, play):
    source = make_video(tmp_path / "in.mp4", frames=30, audio="aac")
    result = invoke(bundles("darken"), "--source", source, "--sink", tmp_path / "o.mp4")
    assert result.exit_code == 0, result.stderr
    before, after = play(source), play(tmp_path / "o.mp4")
    assert after.times == before.times
    assert after.audio_bytes == before.audio_bytes
    for a, b in zip(after.images, before.images, strict=True):
        assert psnr_db(a, b >> 1) > 38  # H.264 at crf 17: measured 42


def test_glob_to_video_in_natural_order(invoke, bundles, tmp_path, play, image):
    for index in (0, 1, 2, 9, 10, 11):
        write_picture(tmp_path / f"p{index}.png", np.full_like(image(), 20 * index))
    result = invoke(
        *(bundles("identity"), "--source", tmp_path / "p*.png", "--fps", "12.5"),
        *("--sink", tmp_path / "out.mkv"),
    )
    assert result.exit_code == 0, result.stderr
    played = play(tmp_path / "out.mkv")
    levels = [round(image.mean() / 20) for image in played.images]
    assert levels == [0, 1, 2, 9, 10, 11]
    assert played.times == [Fraction(2 * i, 25) for i in range(6)]


def test_video_to_folder(invoke, bundles, tmp_path, make_video):
    source = make_video(tmp_path / "in.mp4", frames=30)
    result = invoke(
        *(bundles("identity"), "--source", source, "--sink", f"{tmp_path}/out.v2/"),
        *("--limit", "3"),
    )
    assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / "out.v2").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]


def test_null_measures_only(invoke, bundles, picture_folder):
    result = invoke(bundles("darken"), "--source", picture_folder(), "--sink", "null:")
    assert result.exit_code == 0, result.stderr
    assert "result     null:" in result.stdout


def test_rendered_rain_needs_no_file(invoke, bundles, tmp_path, play):
    pytest.importorskip("derain.runtime.rain")
    result = invoke(
        *(bundles("darken"), "--sink", tmp_path / "out.mp4", "--source"),
        "test://rain?size=64x48&fps=10&seconds=1.5&seed=3",
    )
    assert result.exit_code == 0, result.stderr
    played = play(tmp_path / "out.mp4")
    assert played.times == [Fraction(i, 10) for i in range(15)]


def test_summary_for_people_and_for_machines(invoke, bundles, tmp_path, picture_folder):
    arguments = (bundles("darken"), "--source", picture_folder(), "--sink", "null:")
    text = invoke(*arguments).stdout
    assert re.search(r"^frames     3 in \d+\.\d s, \d+\.\d frames/s$", text, re.M)
    assert re.search(
        r"^network    \d+\.\d ms per frame \(median\), qsnet fp32$", text, re.M
    )
    assert re.search(
        r"^backend    onnxruntime [\d.]+, CPUExecutionProvider", text, re.M
    )
    assert re.search(r"^self-test  identical$", text, re.M)
    report = json.loads(invoke(*arguments, "--json").stdout)
    assert report["frames"] == 3
    assert report["fps"] > 0
    assert report["derain_ms"] > 0
    assert report["model"] == "qsnet"
    assert report["precision"] == "fp32"
    assert report["backend"].startswith("onnxruntime ")
    assert report["golden_psnr_db"] is None
    assert report["sink"] == "null:"
    assert report["stopped_by"] is None


@pytest.mark.parametrize(
    ("name", "said"), [("fp16", "emulate FP16"), ("int8", "INT8 slower")]
)
def test_precisions_that_are_for_a_gpu_are_advised_against(
    invoke, bundles, picture_folder, name, said
):
    arguments = ("--source", picture_folder(), "--sink", "null:")
    assert said in invoke(bundles(name), *arguments).stderr
    assert invoke(bundles(name), *arguments, "--quiet").stderr == ""
    assert invoke(bundles("darken"), *arguments).stderr == ""


# --- sizes ---


def test_another_size_names_the_command_and_creates_nothing(
    invoke, bundles, tmp_path, make_video
):
    source = make_video(tmp_path / "in.mp4", size=Size(80, 60))
    for sink in ("out.mp4", "out.png", "out"):
        result = invoke(
            *(bundles("darken"), "--source", source, "--sink", tmp_path / sink),
            *("--limit", "1"),
        )
        message = (
            "frame is 80x60, the bundle takes 64x48; run: derain-export --model qsnet "
            r"--fp32 --size 80x60 \(or use --resize\)"
        )
        assert failed(result, message)
        assert not (tmp_path / sink).exists()


@pytest.mark.parametrize("bundle", ["darken", "dynamic"])
@pytest.mark.parametrize("size", ["16x20", "80x60", "130x300", "640x480"])
def test_resize_gives_back_the_size_of_the_source(
    invoke, bundles, tmp_path, image, bundle, size
):
    size = Size.parse(size)
    write_picture(tmp_path / "in.png", image(size))
    result = invoke(
        *(bundles(bundle), "--source", tmp_path / "in.png", "--resize"),
        *("--sink", tmp_path / "out.png"),
    )
    assert result.exit_code == 0, result.stderr
    got = read_picture(tmp_path / "out.png")
    # Scaled down and up, at most tenfold, on a picture without edges: measured 29 dB.
    assert psnr_db(got, image(size) >> 1) > 25


# --- what must not be overwritten ---


@pytest.mark.parametrize("sink", ["out.mp4", "out.png"])
def test_an_existing_file_is_replaced_only_with_force(
    invoke, bundles, tmp_path, picture_folder, sink
):
    path = tmp_path / sink
    path.write_text("precious")
    arguments = ("--source", picture_folder(count=1), "--sink", path)
    assert failed(invoke(bundles("darken"), *arguments), "exists; use --force")
    assert path.read_text() == "precious"
    result = invoke(bundles("darken"), *arguments, "--force")
    assert result.exit_code == 0, result.stderr
    assert path.stat().st_size > 100


def test_a_run_that_fails_at_once_leaves_the_old_file(
    invoke, bundles, tmp_path, make_video
):
    source = make_video(tmp_path / "in.mp4", size=Size(80, 60))
    (tmp_path / "out.mp4").write_text("precious")
    result = invoke(
        *(bundles("darken"), "--source", source, "--force"),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert failed(result, "frame is 80x60")
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_a_folder_with_something_in_it_needs_force(
    invoke, bundles, tmp_path, picture_folder
):
    out = picture_folder("out", count=1)
    (out / "other.txt").write_text("stays")
    before = (out / "frame0.png").read_bytes()
    arguments = (bundles("darken"), "--source", picture_folder(), "--sink", out)
    assert failed(invoke(*arguments), "out is not empty; .* --force")
    assert (out / "frame0.png").read_bytes() == before
    assert invoke(*arguments, "--force").exit_code == 0
    assert (out / "frame0.png").read_bytes() != before
    assert (out / "other.txt").read_text() == "stays"


@pytest.mark.parametrize("way", ["same", "relative", "link", "hard link"])
def test_the_source_is_never_the_sink(invoke, bundles, tmp_path, make_video, way):
    source = make_video(tmp_path / "in.mp4")
    content = source.read_bytes()
    sink = source
    if way == "relative":
        (tmp_path / "x").mkdir()
        sink = tmp_path / "x" / ".." / "in.mp4"
    elif way == "link":
        sink = tmp_path / "link.mp4"
        sink.symlink_to(source)
    elif way == "hard link":
        sink = tmp_path / "hard.mp4"
        sink.hardlink_to(source)
    result = invoke(bundles("darken"), "--source", source, "--sink", sink, "--force")
    assert failed(result, "is a file of the source; name another for the result")
    assert source.read_bytes() == content


def test_the_folder_of_the_source_is_never_the_sink(invoke, bundles, picture_folder):
    folder = picture_folder()
    for source in (folder, folder / "*.png", folder / "frame1.png"):
        result = invoke(
            bundles("darken"), "--source", source, "--sink", folder, "--force"
        )
        assert failed(result, "is the folder of the source")


def test_two_pictures_of_one_name_do_not_replace_each_other(
    invoke, bundles, tmp_path, picture_folder
):
    for name in ("in1", "in2"):
        picture_folder(name, count=1)
    out = tmp_path / "out"
    result = invoke(bundles("darken"), "--source", tmp_path / "in*/*", "--sink", out)
    assert failed(
        result, "two pictures of the source are called frame0.png; .* 1 frames"
    )
    assert len(list(out.iterdir())) == 1


# --- sources that fail ---


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.mp4", "nothing.mp4 cannot be read: No such file or directory"),
        ("nothing.png", "nothing.png cannot be read: No such file or directory"),
        ("nothing", "nothing does not exist"),
        ("*.png", r"\*.png matches no picture; wanted .bmp, .jpeg, .jpg, .png"),
        ("empty", "empty holds no picture; wanted .bmp, .jpeg, .jpg, .png"),
        ("text.mp4", "text.mp4 is not a video that can be decoded"),
        ("text.jpg", "text.jpg is not a picture that can be decoded"),
        (
            "text.doc",
            "unknown source '.*text.doc'; choose from .*a folder of pictures, a ",
        ),
        ("ftp://host/x", "unknown source 'ftp://host/x'; choose from .*a folder of"),
        ("test://snow", r"test://snow is not of the form test://rain\?size=1280x720"),
    ],
)
def test_sources_that_cannot_be_opened(
    invoke, bundles, tmp_path, monkeypatch, source, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("text.mp4", "text.jpg", "text.doc"):
        (tmp_path / name).write_text("hello\n" * 1000)
    result = invoke(bundles("darken"), "--source", source, "--sink", "out.mp4")
    assert failed(result, message)
    assert not (tmp_path / "out.mp4").exists()


def test_a_corrupt_picture_is_named_and_the_others_are_kept(
    invoke, bundles, tmp_path, picture_folder
):
    folder = picture_folder(count=12)
    bad = folder / "frame10.png"
    bad.write_bytes(bad.read_bytes()[:200])
    out = tmp_path / "out"
    result = invoke(bundles("darken"), "--source", folder, "--sink", out)
    assert failed(
        result,
        "in/frame10.png is not a picture that can be decoded; what was finished of the "
        "first 10 frames is kept in .*out$",
    )
    assert {p.name for p in out.iterdir()} == {f"frame{i}.png" for i in range(10)}


def test_a_cut_video_gives_a_playable_result(
    invoke, bundles, tmp_path, make_video, play
):
    source = make_video(
        *(tmp_path / "in.mp4", 100),
        options={"movflags": "faststart"},
        audio="aac",
        encoder={"crf": "4"},
    )
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    out = tmp_path / "out.mp4"
    result = invoke(bundles("darken"), "--source", source, "--sink", out)
    assert failed(
        result, r"in\.mp4 is damaged or cut short after frame \d+: .* kept in "
    )
    count = int(re.search(r"first (\d+) frames", result.stderr)[1])
    assert 20 < count < 80
    played = play(out)
    assert len(played.times) == count
    assert played.audio_times[-1] < count / 25


def test_mixed_sizes_for_a_video_end_with_what_fits(
    invoke, bundles, tmp_path, picture_folder, image, play
):
    folder = picture_folder(count=4)
    write_picture(folder / "frame2.png", image(Size(80, 60)))
    out = tmp_path / "out.mp4"
    result = invoke(bundles("any"), "--source", folder, "--sink", out)
    assert failed(
        result, r"frame2\.png is 80x60, the video is 64x48; .* 2 frames is kept"
    )
    assert len(play(out).times) == 2
    # A folder takes pictures of every size.
    assert (
        invoke(bundles("any"), "--source", folder, "--sink", tmp_path / "o").exit_code
        == 0
    )


# --- sinks that fail ---


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ("no/such/out.mp4", "out.mp4 cannot be written: no folder .*no/such"),
        ("no/such/out.png", "out.png cannot be written: no folder .*no/such"),
        ("no/such/out", "out cannot be written: no folder .*no/such"),
        ("file/out.mp4", "out.mp4 cannot be written: no folder .*file"),
        (
            "out.doc",
            r"unknown sink '.*out.doc'; choose from .*a folder, a new folder, a ",
        ),
        ("out.jpg", r"out.jpg holds one picture, .* has 3 frames; name a folder or a"),
        ("ftp://host/x", "unknown sink 'ftp://host/x'"),
        ("file", "file is a file; wanted a folder for the pictures"),
    ],
)
def test_sinks_that_cannot_be_opened(
    invoke, bundles, tmp_path, picture_folder, monkeypatch, sink, message
):
    folder = picture_folder(count=1 if sink.endswith(".png") else 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    result = invoke(bundles("darken"), "--source", folder, "--sink", sink)
    assert failed(result, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(invoke, bundles, tmp_path, picture_folder):
    folder = picture_folder()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for sink in ("out.mp4", "out.png", "out"):
        result = invoke(
            *(bundles("darken"), "--source", folder, "--limit", "1"),
            *("--sink", locked / sink),
        )
        assert failed(result, "cannot be written: folder .*locked is read-only")


class FullDisk(safe_file.SafeFile):
    """A disk on which `room` bytes are left."""

    room = 0

    def write(self, data):
        if self.tell() + len(data) <= self.room:
            return super().write(data)
        super().write(data[: max(0, self.room - self.tell())])
        self.error = OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_full_disk_keeps_what_was_finished(
    invoke, bundles, tmp_path, make_video, play, monkeypatch, suffix
):
    monkeypatch.setattr("derain.runtime.video.muxing.SafeFile", FullDisk)
    source = make_video(tmp_path / "in.mp4", 150, audio="aac", encoder={"crf": "4"})
    arguments = (bundles("identity"), "--source", source, "--crf", "1", "--sink")
    monkeypatch.setattr(FullDisk, "room", 1 << 40)
    assert invoke(*arguments, tmp_path / f"all{suffix}").exit_code == 0
    size = (tmp_path / f"all{suffix}").stat().st_size
    counts = []
    for eighths in range(1, 8):
        monkeypatch.setattr(FullDisk, "room", size * eighths // 8)
        out = tmp_path / f"out{eighths}{suffix}"
        result = invoke(*arguments, out)
        assert failed(result, f"{out} cannot be written: No space left on device")
        assert out.exists() == ("kept in" in result.stderr)
        counts.append(len(play(out).times) if out.exists() else 0)
    assert counts == sorted(counts)
    assert counts[0] < 25
    assert counts[-1] >= 100


def test_a_disk_full_from_the_start_leaves_nothing(
    invoke, bundles, tmp_path, make_video, monkeypatch
):
    monkeypatch.setattr("derain.runtime.video.muxing.SafeFile", FullDisk)
    source = make_video(tmp_path / "in.mp4", 50)
    out = tmp_path / "out.mp4"
    result = invoke(bundles("identity"), "--source", source, "--sink", out)
    assert failed(result, "out.mp4 cannot be written: No space left on device")
    assert not out.exists()


def test_a_file_size_limit_keeps_what_was_finished(bundles, tmp_path, make_video, play):
    resource = pytest.importorskip("resource", reason="limits need a Unix system")
    source = make_video(tmp_path / "in.mp4", 150, encoder={"crf": "1"})
    out = tmp_path / "out.mp4"
    limit = source.stat().st_size // 2
    command = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2);"
        "from derain.runtime.cli import main; main()"
    )
    assert resource
    result = python(
        command, bundles("identity"), "--crf", "1", "--source", source, "--sink", out
    )
    assert result.returncode == 1
    assert re.search(ERROR, result.stderr), result.stderr
    assert "out.mp4 cannot be written: File too large; what was" in result.stderr
    assert len(play(out).times) >= 25


def test_a_full_device(derain_run, bundles, tmp_path, picture_folder):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    result = derain_run(
        *(bundles("darken"), "--source", picture_folder(), "--force"),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert result.returncode == 1
    assert re.search(ERROR, result.stderr), result.stderr
    assert "No space left on device" in result.stderr


# --- signals ---


def start(bundle, source, sink):
    """A run that takes some seconds, once it has written something."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "derain.runtime.cli", bundle, "--quiet"),
            *("--source", source, "--sink", sink),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (sink.exists() and sink.stat().st_size > 3000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def long_video(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("long")
    return make_video(folder / "in.mp4", 600, audio="aac")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_a_signal_leaves_a_playable_file(bundles, tmp_path, long_video, play, number):
    out = tmp_path / "out.mp4"
    process = start(bundles("slow"), long_video, out)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    count = int(
        re.fullmatch(rf"stopped by {number.name} after (\d+) frames\n", stderr)[1]
    )
    assert f"frames     {count} in " in stdout
    played = play(out)
    assert 0 < count == len(played.times) < 600
    assert played.times == [Fraction(i, 25) for i in range(count)]
    assert count / 25 - 0.1 < played.audio_times[-1] < count / 25


def test_a_killed_run_leaves_a_playable_file(bundles, tmp_path, long_video):
    av = pytest.importorskip("av")
    out = tmp_path / "out.mp4"
    process = start(bundles("slow"), long_video, out)
    process.kill()
    process.communicate(timeout=60)
    with av.open(str(out)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert len(times) >= 25  # the fragment of the first second


# --- bundles and backends ---


def test_a_wrong_golden_frame_stops_everything(
    invoke, bundles, tmp_path, picture_folder
):
    result = invoke(
        *(bundles("wrong-golden"), "--source", picture_folder()),
        *("--sink", tmp_path / "out"),
    )
    assert failed(
        result,
        r"self-test failed: onnxruntime .* dB from the expected picture, wanted 50",
    )
    assert not (tmp_path / "out").exists()


def test_a_backend_that_is_not_there(invoke, bundles, picture_folder):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--sink", "null:"),
        *("--backend", "onnxruntime-cuda"),
    )
    assert failed(result, r"no CUDAExecutionProvider; run: .* 'derain\[gpu\]'")


def test_an_unknown_backend_is_a_usage_error(invoke, bundles):
    result = invoke(
        *(bundles("darken"), "--source", "x", "--sink", "y", "--backend", "magic")
    )
    assert result.exit_code == 2
    assert "'magic' is not one of 'onnxruntime', 'onnxruntime-cuda'" in result.stderr


@pytest.mark.parametrize("rate", ["0", "-5", "fast", "1/0", "nan"])
def test_a_senseless_rate_is_a_usage_error(invoke, bundles, rate):
    result = invoke(*(bundles("darken"), "--source", "x", "--sink", "y", "--fps", rate))
    assert result.exit_code == 2
    assert f"'{rate}' is not a rate such as 25 or 30000/1001" in result.stderr


def test_without_pyav_pictures_work_and_videos_say_what_to_install(
    bundles, tmp_path, picture_folder
):
    command = (
        "import sys; sys.modules['av'] = None;"
        "from derain.runtime.cli import main; main()"
    )

    arguments = (command, bundles("darken"), "--source", picture_folder(), "--sink")
    good = python(*arguments, tmp_path / "out")
    assert good.returncode == 0, good.stderr
    bad = python(*arguments, tmp_path / "out.mp4")
    assert bad.returncode == 1
    assert bad.stderr == (
        "Error: av is not installed; run: pip install 'derain[video]'\n"
    )


def test_memory_does_not_grow_with_the_clip(bundles, tmp_path, make_video):
    source = make_video(tmp_path / "in.mp4", 3000, audio="aac")
    command = (
        "import resource, sys; from dataclasses import replace\n"
        "from derain.runtime import stream\n"
        "from derain.runtime.cli import main\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run, early = stream.run, []\n"
        "def watched(source, derainer, sinks, options):\n"
        "    def progress(done):\n"
        "        if done == 500: early.append(peak())\n"
        "    options = replace(options, progress=progress)\n"
        "    return run(source, derainer, sinks, options)\n"
        "stream.run = watched\n"
        "main(standalone_mode=False)\n"
        "print('grown', peak() - early[0])\n"
    )
    result = python(
        *(command, bundles("darken"), "--quiet", "--source", source),
        *("--sink", tmp_path / "out.mp4"),
    )
    assert result.returncode == 0, result.stderr
    grown_kib = int(re.search(r"grown (\d+)", result.stdout)[1])
    # 2500 frames would be 23 MB as pictures; indexes and the allocator take some.
    assert grown_kib < 8_000


def test_help_has_examples_and_the_backends(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    assert "--source rainy.mp4 --sink clean.mp4" in result.output
    assert "onnxruntime-cuda" in result.output
