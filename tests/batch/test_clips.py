"""Which clips there are, and which of them are to be done."""

import os

import pytest

from derain.batch.clips import ClipRecipe, ClipRecord, find_clips, to_do
from derain.batch.storage import Place
from derain.batch.worker import ClipWorker
from derain.core.bundle import Bundle
from derain.core.errors import ConfigError


def names(sources, output="out"):
    return [clip.name for clip in find_clips(sources, str(output))]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", ["a.mp4", "deep/b.mp4", "deep/er/c.mkv"]),
        ("/**/*.mp4", ["a.mp4", "deep/b.mp4"]),
        ("/*.mp4", ["a.mp4"]),
        ("/**/*", ["a.mp4", "deep/b.mp4", "deep/er/c.mkv"]),
        ("/deep", ["b.mp4", "er/c.mkv"]),
        ("/deep/*/*", ["er/c.mkv"]),
        ("/deep/b.mp4", ["b.mp4"]),
    ],
)
def test_folders_patterns_and_files(clip_folder, pattern, found):
    assert names([f"{clip_folder}{pattern}"]) == found
    assert names([f"file://{clip_folder}{pattern}"]) == found


def test_a_container_that_is_not_written_becomes_mp4(clip_folder):
    (clip_folder / "a.mp4").rename(clip_folder / "a.avi")
    assert names([str(clip_folder / "*.avi")]) == ["a.avi.mp4"]


def test_results_are_no_clips(clip_folder):
    (clip_folder / "out").mkdir()
    (clip_folder / "out" / "a.mp4").write_bytes(b"")
    (clip_folder / "out-takes.mp4").write_bytes(b"")
    found = names([f"{clip_folder}/**/*.mp4"], clip_folder / "out")
    assert found == ["a.mp4", "deep/b.mp4", "out-takes.mp4"]


def test_any_uri_that_fsspec_opens():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/rain/x/1.mp4", b"12")
    try:
        (clip,) = find_clips(["memory://rain/**/*.mp4"], "memory://dry")
        assert (clip.source, clip.result) == (
            "memory:///rain/x/1.mp4",
            "memory:///dry/x/1.mp4",
        )
        assert (clip.name, clip.bytes) == ("x/1.mp4", 2)
    finally:
        memory.rm("/rain", recursive=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{0}/none", "none does not exist"),
        ("{0}/*.webm", r"\*\.webm matches no clip; quote it"),
        ("{0}/empty", r"empty has no clip in it: wanted \.3gp .*give a pattern such"),
        ("{0}/notes.txt", r"notes\.txt is neither a video nor a picture"),
        ("rain://a/b", "rain://a/b cannot be opened: Protocol not known: rain"),
        ("s3://u:secret@a/b?key=secret", r"s3://a/b cannot be opened: .*s3fs"),
    ],
)
def test_what_has_no_clip_is_one_line(clip_folder, source, message):
    (clip_folder / "empty").mkdir()
    if source.startswith("s3"):
        try:
            import s3fs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("s3fs is installed")
    with pytest.raises(ConfigError, match=message) as caught:
        find_clips([source.format(clip_folder)], "out")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_clips_of_one_name_are_one_line(clip_folder):
    sources = [str(clip_folder / "deep" / "b.mp4"), str(clip_folder / "deep")]
    assert names(sources) == ["b.mp4", "er/c.mkv"]  # the same clip twice is one
    (clip_folder / "b.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"both become .*out/b\.mp4; name a folder"):
        find_clips([*sources, str(clip_folder / "b.*")], "out")


@pytest.fixture
def done(clip_folder, tmp_path, bundles, options):
    """All clips, done once: the list of them, and the recipe."""
    recipe = ClipRecipe.of(Bundle.open(bundles("darken")), options())
    clips = find_clips([str(clip_folder)], str(tmp_path / "out"))
    worker = ClipWorker(str(bundles("darken")), recipe, options().run_keywords())
    assert worker.open() == ""
    for clip in clips:
        assert worker.derain(clip).state == "done"
    return clips, recipe


def left(clips, recipe, force=False):
    return [clip.name for clip in to_do(clips, recipe, force=force)]


def test_what_is_done_is_not_to_do(done):
    assert left(*done) == []


def test_what_is_missing_or_torn_is_to_do(done):
    clips, recipe = done
    Place.of(clips[1].result).remove()
    assert left(*done) == ["deep/b.mp4"]
    Place.of(clips[0].record).write(b'{"schema": 1')
    with pytest.raises(ConfigError, match=r"a\.mp4 was not written by derain-batch"):
        to_do(clips, recipe, force=False)
    assert left(clips, recipe, force=True) == ["a.mp4", "deep/b.mp4"]


def test_another_bundle_or_option_makes_all_to_do(done, bundles, options):
    clips, _ = done
    bundle = Bundle.open(bundles("darken"))
    assert len(left(clips, ClipRecipe.of(bundle, options(crf=30)))) == 3
    assert left(clips, ClipRecipe.of(bundle, options(cpus_per_actor=4, actors=2))) == []
    other = Bundle.open(bundles("identity"))
    assert len(left(clips, ClipRecipe.of(other, options()))) == 3
    more = options(bundles=(bundles("dynamic"),))
    assert len(left(clips, ClipRecipe.of(bundle, more))) == 3


def test_a_clip_that_was_touched_is_read_and_one_that_changed_is_to_do(
    done, make_video
):
    clips, recipe = done
    source = Place.of(clips[0].source)
    os.utime(source.path, (1, 1))
    before = ClipRecord.from_json(Place.of(clips[0].record).read())
    assert left(clips, recipe) == []
    after = ClipRecord.from_json(Place.of(clips[0].record).read())
    assert before.stamp != after.stamp
    assert after.stamp == source.stamp()
    make_video(source.path, 5)
    assert left(clips, recipe) == ["a.mp4"]


def test_a_result_that_somebody_changed_is_not_replaced_unasked(done):
    clips, recipe = done
    with open(clips[0].result, "ab") as file:  # noqa: PTH123
        file.write(b"mine")
    with pytest.raises(ConfigError, match=r"a\.mp4 was not written .* --force"):
        to_do(clips, recipe, force=False)
    assert left(clips, recipe, force=True) == ["a.mp4"]


def test_a_file_of_another_program_is_not_replaced_unasked(
    clip_folder, tmp_path, bundles, options
):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4"):
        (tmp_path / "out" / name).write_bytes(b"mine")
    recipe = ClipRecipe.of(Bundle.open(bundles("darken")), options())
    clips = find_clips([str(clip_folder)], str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"a\.mp4 \(and 1 more\) was not written"):
        to_do(clips, recipe, force=False)
    assert len(left(clips, recipe, force=True)) == 3
