"""A worker derains as ``derain-run`` does, and leaves a whole clip or nothing."""

import os
import sys

import pytest

from derain.batch.clips import ClipRecipe, ClipRecord, find_clips
from derain.batch.worker import ClipWorker, part_name, remove_parts
from derain.core.bundle import Bundle
from derain.core.sizes import Size
from support.commands import content
from support.memory_network import Fading, clip_of


@pytest.fixture
def worker(options):
    """Opens a worker: ``worker(bundle, stopped=...)``."""

    def opened(bundle, stopped=lambda: False, **changes):
        recipe = ClipRecipe.of(Bundle.open(bundle), options(**changes))
        keywords = options(**changes).run_keywords()
        found = ClipWorker(str(bundle), recipe, keywords, stopped=stopped)
        assert found.open() == ""
        return found

    return opened


def clips(source, output):
    return find_clips([str(source)], str(output))


def lasting(path):
    """The bytes of a video; of Matroska, which draws numbers, those of its packets."""
    if path.suffix != ".mkv":
        return path.read_bytes()
    import av

    with av.open(str(path)) as file:
        return [(p.stream_index, p.pts, bytes(p)) for p in file.demux() if p.size]


def test_bit_for_bit_what_derain_run_makes(
    worker, clip_folder, bundles, invoke, tmp_path
):
    out = tmp_path / "out"
    found = worker(bundles("darken"))
    for clip in clips(clip_folder, out):
        outcome = found.derain(clip)
        assert (outcome.state, outcome.error) == ("done", "")
        wanted = tmp_path / f"wanted{clip.name[-4:]}"
        done = invoke(
            *(bundles("darken"), "--source", clip.source, "--sink", wanted),
            *("--backend", "onnxruntime", "--threads", 1, "--force"),
        )
        assert done.exit_code == 0, done.output
        assert lasting(out / clip.name) == lasting(wanted)
    kept = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    results = ["a.mp4", "deep/b.mp4", "deep/er/c.mkv"]
    assert kept == sorted([*results, *(f"{name}.derain.json" for name in results)])


def test_a_clip_knows_nothing_of_the_one_before(worker, tmp_path, invoke):
    network = Fading("64x48")
    bundle = network.bundle(tmp_path / "bundle", clip_of(4, Size(64, 48)))
    for seed in (1, 2):
        source = f"test://rain?size=64x48&seconds=0.2&seed={seed}"
        done = invoke(bundle, "--source", source, "--sink", tmp_path / f"{seed}.mp4")
        assert done.exit_code == 0, done.output
    found = worker(bundle)
    for clip in clips(tmp_path / "[12].mp4", tmp_path / "out"):
        assert found.derain(clip).state == "done"
        wanted = tmp_path / f"wanted-{clip.name}"
        invoke(bundle, "--source", clip.source, "--sink", wanted)
        assert (tmp_path / "out" / clip.name).read_bytes() == wanted.read_bytes()


def test_pictures(worker, picture_folder, bundles, tmp_path, image):
    from derain.core.pictures import read_picture

    folder = picture_folder(count=2)
    for clip in clips(folder / "*.png", tmp_path / "out"):
        assert worker(bundles("darken")).derain(clip).frames == 1
    got = read_picture(tmp_path / "out" / "frame1.png")
    assert (got == image(shift=1) >> 1).all()


@pytest.mark.parametrize("form", ["memory:/", "file://{}"])
def test_clips_and_results_anywhere(worker, clip_folder, bundles, tmp_path, form):
    import fsspec

    root = form.format(tmp_path / "far")
    system, path = fsspec.core.url_to_fs(f"{root}/in/deep/b.mp4")
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    system.put_file(str(clip_folder / "deep" / "b.mp4"), path)
    try:
        (far,) = clips(f"{root}/in/**/*.mp4", f"{root}/out")
        (near,) = clips(clip_folder / "deep" / "b.mp4", tmp_path / "near")
        found = worker(bundles("darken"))
        for clip in (far, near):
            outcome = found.derain(clip)
            assert outcome.state == "done", outcome
        _, there = fsspec.core.url_to_fs(f"{root}/out")
        files = {f.removeprefix(there): system.cat_file(f) for f in system.find(there)}
        assert sorted(files) == ["/deep/b.mp4", "/deep/b.mp4.derain.json"]
        assert files["/deep/b.mp4"] == (tmp_path / "near" / "b.mp4").read_bytes()
        record = ClipRecord.from_json(files["/deep/b.mp4.derain.json"])
        assert record.frames == 3
        found.derain(far)  # once more, over it
        assert len(system.find(there)) == 2
    finally:
        if form.startswith("memory"):
            system.rm("/in", recursive=True)
            system.rm("/out", recursive=True)


def test_a_broken_clip_leaves_nothing(worker, clip_folder, bundles, tmp_path):
    (clip_folder / "a.mp4").write_bytes(b"no video")
    (clip,) = clips(clip_folder / "a.mp4", tmp_path / "out")
    outcome = worker(bundles("darken")).derain(clip)
    assert outcome.state == "failed"
    assert "a.mp4" in outcome.error
    assert "\n" not in outcome.error
    assert content(tmp_path / "out") == {}


def test_a_clip_that_breaks_off_leaves_what_was_there(
    worker, clip_folder, bundles, tmp_path, make_video
):
    source = make_video(clip_folder / "a.mp4", 40, options={"movflags": "faststart"})
    (clip,) = clips(source, tmp_path / "out")
    found = worker(bundles("darken"))
    assert found.derain(clip).frames == 40
    before = content(tmp_path / "out")
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    outcome = found.derain(clip)
    assert outcome.state == "failed"
    assert "is kept in" not in outcome.error
    assert content(tmp_path / "out") == before


def test_one_that_is_stopped_leaves_nothing(worker, clip_folder, bundles, tmp_path):
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > 3

    (clip,) = clips(clip_folder / "a.mp4", tmp_path / "out")
    outcome = worker(bundles("darken"), stopped).derain(clip)
    assert outcome.state == "stopped"
    assert content(tmp_path / "out") == {}


def test_a_bug_is_told_with_its_type(worker, clip_folder, bundles, tmp_path):
    def stopped():
        raise RuntimeError("by mistake")

    (clip,) = clips(clip_folder / "a.mp4", tmp_path / "out")
    outcome = worker(bundles("darken"), stopped).derain(clip)
    assert (outcome.state, outcome.error) == ("failed", "RuntimeError: by mistake")
    assert content(tmp_path / "out") == {}


def test_what_a_killed_worker_left_goes_and_nothing_else(clip_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (clip,) = clips(clip_folder / "a.mp4", out)
    part = part_name(clip).removesuffix(".mp4")
    for name in (
        *(f"{part}.mp4", f"{part}.partial.mp4", f"{part}.partial-0123abcd.mp4"),
        *("a.mp4", ".b-0123abcd.part.mp4", ".a-x.part.mp4"),
    ):
        (out / name).write_bytes(b"")
    remove_parts(clip)
    assert sorted(content(out)) == [".a-x.part.mp4", ".b-0123abcd.part.mp4", "a.mp4"]


def test_a_full_disk_is_one_line_and_leaves_nothing(bundles, tmp_path, make_video):
    """A limit for files is as good: what is written does not go in."""
    if sys.platform == "win32":
        pytest.skip("has no such limit")
    import subprocess

    source = make_video(tmp_path / "in.mp4", 200)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000,) * 2)\n"
        "from derain.batch.clips import ClipRecipe, find_clips\n"
        "from derain.batch.options import BatchOptions\n"
        "from derain.batch.worker import ClipWorker\n"
        "bundle, source, out = sys.argv[1:]\n"
        "options = BatchOptions(backend='onnxruntime', crf=1).run_keywords()\n"
        "recipe = ClipRecipe(bundle_sha256='', options={})\n"
        "worker = ClipWorker(bundle, recipe, options)\n"
        "assert worker.open() == ''\n"
        "print(worker.derain(find_clips([source], out)[0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, bundles("identity"), source, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OPENCV_LOG_LEVEL": "SILENT"},
    )
    assert "state='failed'" in done.stdout
    assert "/out/in.mp4 cannot be written: File too large'" in done.stdout
    assert content(tmp_path / "out") == {}
