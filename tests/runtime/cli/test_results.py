"""What comes out: pictures and videos, in the size of the source, and a summary."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest

from derain.core.metrics import psnr_db
from derain.core.pictures import read_picture, write_picture
from derain.core.sizes import Size


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
    pytest.importorskip("derain.core.synthetic.rain")
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
    arguments += ("--backend", "onnxruntime")
    assert said in invoke(bundles(name), *arguments).stderr
    assert invoke(bundles(name), *arguments, "--quiet").stderr == ""
    assert invoke(bundles("darken"), *arguments).stderr == ""


def test_the_backend_that_was_taken_and_why_is_said(invoke, bundles, picture_folder):
    result = invoke(
        *(bundles("darken"), "--source", picture_folder(), "--sink", "null:"),
    )
    assert re.fullmatch(
        r"backend: onnxruntime .*, the fastest that works here for fp32\n",
        result.stderr,
    )


def test_another_size_names_the_command_and_creates_nothing(
    invoke, bundles, tmp_path, make_video, failed
):
    source = make_video(tmp_path / "in.mp4", size=Size(80, 60))
    for sink in ("out.mp4", "out.png", "out"):
        result = invoke(
            *(bundles("darken"), "--source", source, "--sink", tmp_path / sink),
            *("--limit", "1"),
        )
        message = (
            "frame is 80x60, the bundle takes 64x48; run: derain-export --model qsnet "
            r"--fp32 --size 80x60 \(or use --resize: scale 0.80\)"
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
    # What is taken away comes from a picture up to ten times smaller.
    assert psnr_db(got, image(size) >> 1) > 25
    takes = (bundle, str(size)) == ("dynamic", "80x60")
    if takes or str(size) == "16x20":  # nothing is made smaller
        np.testing.assert_array_equal(got, image(size) >> 1)
    told = [line.split(",")[0] for line in result.stderr.splitlines() if " -> " in line]
    assert len(told) == (not takes)
    assert all(line.startswith(f"note: {size} -> ") for line in told)
