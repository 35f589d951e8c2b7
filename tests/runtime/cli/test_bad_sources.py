"""Sources that cannot be opened, or that fail on the way."""

import re

import pytest

from derain.core.pictures import write_picture
from derain.core.sizes import Size


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
    invoke, bundles, tmp_path, monkeypatch, source, message, failed
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("text.mp4", "text.jpg", "text.doc"):
        (tmp_path / name).write_text("hello\n" * 1000)
    result = invoke(bundles("darken"), "--source", source, "--sink", "out.mp4")
    assert failed(result, message)
    assert not (tmp_path / "out.mp4").exists()


def test_a_corrupt_picture_is_named_and_the_others_are_kept(
    invoke, bundles, tmp_path, picture_folder, failed
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
    invoke, bundles, tmp_path, make_video, play, failed
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
    assert not out.exists()
    played = play(tmp_path / "out.partial.mp4")
    assert len(played.times) == count
    assert played.audio_times[-1] < count / 25


def test_mixed_sizes_for_a_video_end_with_what_fits(
    invoke, bundles, tmp_path, picture_folder, image, play, failed
):
    folder = picture_folder(count=4)
    write_picture(folder / "frame2.png", image(Size(80, 60)))
    out = tmp_path / "out.mp4"
    result = invoke(bundles("any"), "--source", folder, "--sink", out)
    assert failed(
        result, r"frame2\.png is 80x60, the video is 64x48; .* 2 frames is kept"
    )
    assert not out.exists()
    assert len(play(tmp_path / "out.partial.mp4").times) == 2
    # A folder takes pictures of every size.
    assert (
        invoke(bundles("any"), "--source", folder, "--sink", tmp_path / "o").exit_code
        == 0
    )
