"""What must not be overwritten."""

import os
import time

import pytest

from derain.core.sizes import Size


@pytest.mark.parametrize("sink", ["out.mp4", "out.png"])
def test_an_existing_file_is_replaced_only_with_force(
    invoke, bundles, tmp_path, picture_folder, sink, failed
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
    invoke, bundles, tmp_path, make_video, failed
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
    invoke, bundles, tmp_path, picture_folder, failed
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


@pytest.mark.parametrize("sink", ["out", "out/frame0.png"])
def test_what_a_killed_run_left_of_a_picture_goes_with_the_next_run(
    invoke, bundles, picture_folder, sink
):
    out = picture_folder("out", count=1)
    left, others = (out / f".{name}-0a1b2c3d.part" for name in ("1.png", "notes"))
    for path in (left, others):
        path.write_text("half")
        os.utime(path, (time.time() - 3600,) * 2)
    source = picture_folder(count=1)
    arguments = ("--source", source, "--sink", out.parent / sink, "--force")
    assert invoke(bundles("darken"), *arguments).exit_code == 0
    assert {path.name for path in out.iterdir()} == {"frame0.png", others.name}


@pytest.mark.parametrize("way", ["same", "relative", "link", "hard link"])
def test_the_source_is_never_the_sink(
    invoke, bundles, tmp_path, make_video, way, failed
):
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


def test_the_folder_of_the_source_is_never_the_sink(
    invoke, bundles, picture_folder, failed
):
    folder = picture_folder()
    for source in (folder, folder / "*.png", folder / "frame1.png"):
        result = invoke(
            bundles("darken"), "--source", source, "--sink", folder, "--force"
        )
        assert failed(result, "is the folder of the source")


def test_two_pictures_of_one_name_do_not_replace_each_other(
    invoke, bundles, tmp_path, picture_folder, failed
):
    for name in ("in1", "in2"):
        picture_folder(name, count=1)
    out = tmp_path / "out"
    result = invoke(bundles("darken"), "--source", tmp_path / "in*/*", "--sink", out)
    assert failed(
        result, "two pictures of the source are called frame0.png; .* 1 frames"
    )
    assert len(list(out.iterdir())) == 1
