"""Frames of several cameras in one call: whether, whose, and what each is then."""

from types import SimpleNamespace

import numpy as np
import pytest

from derain.core.sizes import Size
from derain.runtime.derainer import Derainer
from derain.runtime.pipeline import batching, stream_parts
from derain.runtime.pipeline.batching import Batching, fewest, open_batching
from derain.runtime.pipeline.cameras import CameraConfig
from derain.runtime.pipeline.fleet import Fleet
from derain.runtime.pipeline.options import CameraOptions, RunOptions
from derain.runtime.session import NetworkCall
from derain.runtime.video.frames import Frame
from support.batched_model import add_batch
from support.fixtures import smooth_image
from support.memory_network import Fading, Seeing, clip_of

SIZE = Size(64, 48)


def pan(count, seed, size=SIZE):
    """`count` pictures of a scene that moves, so that none is a cut."""
    return [smooth_image(size, 30 * seed + index) for index in range(count)]


def bundle(tmp_path, network=None, rows=3, models=None):
    network = network or Fading("64x48")
    folder = network.bundle(tmp_path / "bundle", clip_of(4, SIZE, seed=9))
    return add_batch(folder, rows, models)


@pytest.fixture
def measured(monkeypatch):
    """Says what a call of either kind takes, in place of a clock."""

    def say(single_s, batch_s):
        monkeypatch.setattr(batching, "measure", lambda *rest: (single_s, batch_s))

    return say


@pytest.fixture
def serve(monkeypatch, fakes, tmp_path):
    """Derains clips, by camera, to their ends: the pictures, and the report."""

    def run(folder, clips, **options):
        screens = {name: fakes.Screen(name=name) for name in clips}

        class File:
            def __init__(self, clip):
                self.clip = clip
                info = fakes.Camera([]).info
                self.info = type(info)(
                    description="file", time_base=info.time_base, fps=info.fps
                )

            def __iter__(self):
                for index, image in enumerate(self.clip):
                    yield Frame(image, index, index * self.info.time_base)

            def interrupt(self):
                pass

            def close(self):
                pass

        def opened(uri, fps=None):
            return File(clips[uri.rpartition("/")[2]])

        monkeypatch.setattr(stream_parts, "open_source", opened)
        monkeypatch.setattr(stream_parts, "open_sink", lambda uri, *rest: screens[uri])
        cameras = [
            CameraConfig(
                name=name,
                source=f"rtsp://{name}",
                sinks=(name,),
                options=CameraOptions(),
            )
            for name in clips
        ]
        report = Fleet(folder, cameras, RunOptions(**options)).run()
        pictures = {
            name: [frame.image for frame in screen.frames]
            for name, screen in screens.items()
        }
        return pictures, report

    return run


@pytest.mark.parametrize(
    ("batch_s", "least"), [(1.0, 2), (1.85, 2), (1.95, 3), (2.9, 4), (3.9, None)]
)
def test_from_how_many_on_it_gains(batch_s, least):
    assert fewest(1.0, batch_s, 4) == least


@pytest.mark.parametrize("kind", [Fading, Seeing], ids=["states", "look-ahead"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_each_camera_is_as_if_it_were_alone(
    kind, backend, tmp_path, serve, measured, said
):
    """Clips of several lengths: rows are left and taken."""
    if backend == "openvino":
        pytest.importorskip("openvino")
    measured(1.0, 1.0)
    network = kind("64x48")
    folder = bundle(tmp_path, network)
    clips = {
        name: pan(count, seed)
        for seed, (name, count) in enumerate({"a": 4, "b": 9, "c": 6, "d": 9}.items())
    }
    pictures, report = serve(folder, clips, backend=backend)
    for name, clip in clips.items():
        np.testing.assert_array_equal(pictures[name], network.derain(clip))
    statistics = [each.statistics for each in report.cameras.values()]
    assert sum(each["batched"] for each in statistics) > 4
    assert all(each["derained"] >= each["batched"] for each in statistics)
    assert (
        "batches: 3 frames in one call take 1000.0 ms here, one frame 1000.0 ms: where "
        "2 or more wait, they go together"
    ) in said()


def test_where_nothing_is_gained_frames_go_one_by_one(tmp_path, serve, measured, said):
    measured(1.0, 3.0)
    clips = {name: pan(5, seed) for seed, name in enumerate("ab")}
    pictures, report = serve(bundle(tmp_path), clips, backend="onnxruntime")
    np.testing.assert_array_equal(pictures["b"], Fading("64x48").derain(clips["b"]))
    assert [each.statistics["batched"] for each in report.cameras.values()] == [0, 0]
    assert any("frames go one by one, which is not slower" in line for line in said())


def test_it_is_measured_here(tmp_path):
    with Derainer(bundle(tmp_path), "onnxruntime") as derainer:
        graph = derainer.shared_backend.open_batch()
        sessions = [derainer.session() for _ in range(3)]
        single_s, batch_s = batching.measure(derainer, graph, sessions, rounds=2)
        assert single_s > 0
        assert batch_s > 0


def test_a_row_that_is_wrong_is_found_before_any_frame(tmp_path, serve, said):
    """Row 1 is another network of the same states."""
    network = Fading("64x48")
    folder = network.bundle(tmp_path / "bundle", clip_of(4, SIZE))
    other = Fading("64x48", multiple_of=2).model()
    for node in other.graph.node:
        if node.name == "" and list(node.output) == ["darker"]:
            node.op_type = "Max"
    (tmp_path / "other.onnx").write_bytes(other.SerializeToString())
    add_batch(folder, 2, [folder / "model.onnx", tmp_path / "other.onnx"])
    clips = {name: pan(5, seed) for seed, name in enumerate("ab")}
    pictures, _ = serve(folder, clips, backend="onnxruntime")
    np.testing.assert_array_equal(pictures["b"], network.derain(clips["b"]))
    assert any("self-test failed: row 1 is" in line for line in said())


def test_a_backend_that_takes_one_frame_says_so(said):
    derainer = SimpleNamespace(
        bundle=SimpleNamespace(manifest=SimpleNamespace(batch=3)),
        backend="triton://server:8001/model",
        shared_backend=object(),
    )
    assert open_batching(derainer) is None
    assert (
        "batches of 3: triton://server:8001/model takes one frame a call here; frames "
        "go one by one"
    ) in said()


def test_a_frame_that_is_refused_is_its_own_cameras(tmp_path, serve, measured):
    measured(1.0, 1.0)
    clips = {
        "good": pan(6, 1),
        "bad": [*pan(3, 2), *clip_of(1, Size(32, 32))],
        "other": pan(6, 3),
    }
    pictures, report = serve(bundle(tmp_path), clips, backend="onnxruntime")
    for name in ("good", "other"):
        wanted = Fading("64x48").derain(clips[name])
        np.testing.assert_array_equal(pictures[name], wanted)
    assert list(report.failures) == ["bad"]
    assert "32x32" in report.failures["bad"]


def test_what_fails_in_one_call_fails_each_of_its_cameras(tmp_path):
    class Broken:
        def infer(self, frames, memories):
            raise ZeroDivisionError("a bug")

    with Derainer(bundle(tmp_path), "onnxruntime") as derainer:
        image = clip_of(1, SIZE)[0]
        calls = [NetworkCall(derainer.session(), image) for _ in range(2)]
        NetworkCall.run_together(calls, Broken())
        for call in calls:
            with pytest.raises(ZeroDivisionError):
                call.picture()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_picture_is_taken_before_the_next_call(backend, tmp_path, serve, measured):
    """Cameras of two sizes, which change them: sessions share the place of pictures."""
    if backend == "openvino":
        pytest.importorskip("openvino")
    measured(1.0, 1.0)
    network = Fading("32x32,64x48,96x72")
    folder = add_batch(network.bundle(tmp_path / "bundle", clip_of(4, SIZE, 9)), 2)
    large = Size(96, 72)
    parts = {
        name: [pan(5, seed, first), pan(4, seed, then)]
        for seed, (name, first, then) in enumerate(
            [
                ("a", SIZE, large),
                ("b", large, SIZE),
                ("c", SIZE, SIZE),
                ("d", large, SIZE),
            ]
        )
    }
    clips = {name: [*first, *then] for name, (first, then) in parts.items()}
    pictures, report = serve(folder, clips, backend=backend)
    for name, (first, then) in parts.items():
        ends = [[*first, *then]] if name == "c" else [first, then]
        wanted = [picture for end in ends for picture in network.derain(end)]
        for got, picture in zip(pictures[name], wanted, strict=True):
            np.testing.assert_array_equal(got, picture)
    statistics = [each.statistics for each in report.cameras.values()]
    assert all(each["batched"] > 2 for each in statistics)
    assert sum(each["resets"]["size"] for each in statistics) == 3


def test_calls_of_one_size_and_one_bundle_go_together(tmp_path):
    seen = []

    class Graph:
        def infer(self, frames, memories):
            seen.append([frame.shape[1:3] for frame in frames])
            return [frame.copy() for frame in frames]

    small, large = (np.zeros((*shape, 3), np.uint8) for shape in ((48, 64), (40, 64)))
    folder = Fading("32x32,64x48,64x64").bundle(tmp_path / "b", clip_of(4, SIZE))
    add_batch(folder, 2)
    with (
        Derainer(folder, "onnxruntime") as derainer,
        Derainer(folder, "onnxruntime") as stranger,
    ):
        chosen = Batching(derainer, Graph(), single_s=1.0, batch_s=1.0, least=2)
        images = [small, large, small, small, large]
        calls = [NetworkCall(derainer.session(), image) for image in images]
        calls.append(NetworkCall(stranger.session(), small))
        made = [len(together) for together in chosen.run(calls)]
        assert made == [2, 1, 2, 1]
        assert seen == [[(48, 64)] * 2, [(40, 64)] * 2]
        assert [call.together for call in calls] == [2, 2, 2, 1, 2, 1]
        assert all(call.picture() is not None for call in calls)


def test_one_camera_goes_through_the_first_graph(tmp_path):
    """A bundle for several is one for one: the second graph is not even opened."""
    folder = bundle(tmp_path)
    clip = clip_of(5, SIZE, 3)
    with Derainer(folder, "onnxruntime") as derainer:
        got = [frame.copy() for frame in derainer.stream(clip)]
    np.testing.assert_array_equal(got, Fading("64x48").derain(clip))
