"""Batches on Ray: what fails, what dies, what is stopped. One cluster for all tests."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="needs derain[batch]")

pytestmark = [
    # Of Ray's own: sockets and files that it leaves to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster on this machine, with a node for two workers that stays."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False},
    )
    yield found
    found.shutdown()


@pytest.fixture
def batch(cluster):
    """Runs ``derain-batch`` there: ``batch(bundle, "--source", ...)``."""
    from click.testing import CliRunner

    from derain.batch.cli import main

    def run(*arguments):
        joined = ("--address", cluster.address, "--backend", "onnxruntime")
        return CliRunner().invoke(main, [str(each) for each in (*arguments, *joined)])

    return run


@pytest.fixture
def long_clips(tmp_path, make_video):
    """Two clips that take a worker some seconds each, with the bundle "slow"."""
    folder = tmp_path / "long"
    folder.mkdir()
    for name in "xy":
        make_video(folder / f"{name}.mp4", 80)
    return folder


def report(result):
    found = json.loads(result.stdout)
    return found, {Path(clip["source"]).stem: clip for clip in found["clips"]}


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()
    )


def writer_of(folder):
    """The process that is at work on a clip in `folder`, and which clip; or None."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)  # noqa: PTH115 - it may be gone
        except OSError:
            continue
        if target.startswith(str(folder)) and ".part." in target:
            return int(link.parts[2]), re.search(r"/\.(\w+)-", target)[1]
    return None


def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_batch_is_resumed_and_a_broken_clip_stops_nothing(
    batch, bundles, clip_folder, tmp_path, invoke
):
    (clip_folder / "bad.mp4").write_bytes(b"no video")
    run = (bundles("darken"), "--source", clip_folder, "--output", tmp_path / "out")
    first = batch(*run, "--report", tmp_path / "report.json")
    assert first.exit_code == 1, first.output
    assert "3 done, 0 done before, 1 failed" in first.stdout
    assert re.search(r"bad\.mp4 +failed +0 +0\.0 +2 +.*bad\.mp4", first.stdout)
    assert "it is tried once more" in first.stderr
    assert "the others go on" in first.stderr
    kept = json.loads((tmp_path / "report.json").read_text())
    assert (kept["done"], kept["failed"], kept["frames"]) == (3, 1, 10)
    assert files(tmp_path / "out") == sorted(
        name + suffix
        for name in ("a.mp4", "deep/b.mp4", "deep/er/c.mkv")
        for suffix in ("", ".derain.json")
    )
    done = invoke(
        *(bundles("darken"), "--source", clip_folder / "a.mp4"),
        *("--sink", tmp_path / "a.mp4", "--backend", "onnxruntime", "--threads", 1),
    )
    assert done.exit_code == 0
    a = tmp_path / "out" / "a.mp4"
    assert a.read_bytes() == (tmp_path / "a.mp4").read_bytes()

    (tmp_path / "out" / "deep" / "b.mp4").unlink()
    (clip_folder / "bad.mp4").unlink()
    second = batch(*run, "--json")
    assert second.exit_code == 0, second.output
    found, clips = report(second)
    assert list(clips) == ["b"]
    assert (found["current"], found["failed"]) == (2, 0)
    third = batch(*run, "--json")
    assert report(third)[0]["current"] == 3


def test_a_worker_that_is_killed_is_replaced_and_its_clip_done_elsewhere(
    batch, bundles, long_clips, tmp_path, until
):
    killed = []

    def kill():
        found = until(lambda: writer_of(tmp_path / "out"))
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[1])

    thread = in_background(kill)
    result = batch(
        *(bundles("slow"), "--source", long_clips, "--output", tmp_path / "out"),
        "--json",
    )
    thread.join()
    assert result.exit_code == 0, result.output
    found, clips = report(result)
    (victim,) = killed
    (other,) = {"x", "y"} - {victim}
    assert (clips[victim]["tries"], clips[other]["tries"]) == (2, 1)
    assert found["lost_workers"] == 1
    assert f"{victim}.mp4: its worker died: killed, crashed, " in result.stderr
    assert len(files(tmp_path / "out")) == 4  # nothing is left of the first try


def test_a_node_that_is_lost(cluster, batch, bundles, long_clips, tmp_path, until):
    """It has room for one of three workers, which cannot be replaced."""
    node = cluster.add_node(num_cpus=1)
    (long_clips / "z.mp4").write_bytes((long_clips / "x.mp4").read_bytes())

    def at_work():
        parts = list((tmp_path / "out").glob(".*.part.*mp4"))
        return len(parts) == 3

    def lose():
        until(at_work)
        cluster.remove_node(node, allow_graceful=False)

    thread = in_background(lose)
    result = batch(
        *(bundles("slow"), "--source", long_clips, "--output", tmp_path / "out"),
        *("--actors", 3, "--json"),
    )
    thread.join()
    assert result.exit_code == 0, result.output
    found, clips = report(result)
    assert found["done"] == 3
    assert found["lost_workers"] == 1
    assert sorted(clip["tries"] for clip in clips.values()) == [1, 1, 2]
    assert len(files(tmp_path / "out")) == 6


def test_a_full_disk(batch, bundles, clip_folder, tmp_path, make_video):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small disk here; see test_worker")
    try:
        make_video(clip_folder / "large.mp4", 200)
        result = batch(
            *(bundles("identity"), "--source", clip_folder, "--output", disk / "out"),
            *("--crf", 1, "--json"),
        )
        assert result.exit_code == 1, result.output
        found, clips = report(result)
        assert (clips["large"]["tries"], clips["large"]["state"]) == (2, "failed")
        assert clips["large"]["error"].endswith("No space left on device")
        assert found["done"] >= 1
        assert not [name for name in files(disk) if ".part." in name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def failed():
    """Asserts that a command ended with exit status 1 and one line."""

    def check(result, message):
        assert result.exit_code == 1, result.output
        lines = [line for line in result.stderr.splitlines() if "clips, " not in line]
        assert len(lines) == 1, result.stderr
        assert re.match(f"Error: .*{message}", lines[0]), lines[0]

    return check


def test_a_bundle_that_a_worker_cannot_open(
    batch, failed, bundles, clip_folder, tmp_path
):
    result = batch(
        *(bundles("wrong-golden"), "--source", clip_folder, "--output", tmp_path / "o"),
        *("--actors", 1),
    )
    failed(result, "a worker could not open .*wrong-golden: self-test failed: ")
    assert not (tmp_path / "o").exists()


def test_more_actors_than_there_is_room_for(
    batch, failed, bundles, clip_folder, tmp_path
):
    run = (bundles("darken"), "--source", clip_folder, "--output", tmp_path / "o")
    failed(batch(*run, "--actors", 9), "no room for 9 actors of 1 CPU each: Ray has .")
    failed(batch(*run, "--gpus-per-actor", 0.5), "1 CPU and 0.5 GPU each: .* 0 GPU;")


def test_an_address_where_nobody_answers(failed, bundles, clip_folder, tmp_path):
    from click.testing import CliRunner

    from derain.batch.cli import main

    run = [str(bundles("darken")), "--source", str(clip_folder), "--output", "o"]
    for address, message in (
        ("127.0.0.1:9", "no Ray answers at 127.0.0.1:9; .* ray start --head .*refused"),
        ("nonsense", "--address nonsense is not of the form HOST:PORT"),
    ):
        failed(CliRunner().invoke(main, [*run, "--address", address]), message)


def test_ctrl_c_leaves_whole_clips_and_the_next_run_does_the_rest(
    bundles, long_clips, clip_folder, tmp_path, until
):
    """With a Ray of its own, as on anybody's machine; which leaves nothing either.

    The longest file comes first: a short clip, in a long file.
    """
    free = (1 << 20).to_bytes(4, "big") + b"free" + bytes((1 << 20) - 8)  # an MP4 box
    (long_clips / "z.mp4").write_bytes((clip_folder / "a.mp4").read_bytes() + free)
    command = [sys.executable, "-m", "derain.batch.cli", str(bundles("slow"))]
    command += ["--source", str(long_clips), "--output", str(tmp_path / "out")]
    command += ["--backend", "onnxruntime", "--actors", "1", "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def at_work():
        assert process.poll() is None, process.communicate()
        found = writer_of(tmp_path / "out")
        return found is not None and found[1] in ("x", "y")

    until(at_work)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 130, stderr
    assert time.monotonic() - started < 60
    assert "stopped by SIGINT with 2 clips left" in stderr
    assert "Traceback" not in stderr
    states = [clip["state"] for clip in json.loads(stdout)["clips"]]
    assert states == ["left", "left", "done"]
    assert files(tmp_path / "out") == ["z.mp4", "z.mp4.derain.json"]
