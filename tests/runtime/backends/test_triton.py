"""``triton://``: against NVIDIA's own server, see support.triton_server."""

import re

import numpy as np
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError, StateError, UnknownNameError
from derain.core.sizes import Size
from derain.runtime.backends import check_backend, open_backend
from derain.runtime.backends.protocol import NoMemory
from derain.runtime.derainer import load
from support.bundles import write_bundle
from support.memory_network import Fading, Seeing, clip_of
from support.triton_server import TritonServer, find_server, free_ports

onnx = pytest.importorskip("onnx", reason="bundles need derain[export]")
pytest.importorskip("tritonclient.grpc", reason="needs derain[triton]")

SIZE = Size(61, 45)
FADING = Fading("61x45", multiple_of=4)


@pytest.fixture(scope="module")
def served(tmp_path_factory, bundles, image):
    """The server's address, and what it has: bundles by name."""
    from derain.export.triton_options import TritonOptions
    from derain.export.triton_repository import add_to_repository

    find_server()
    scratch = tmp_path_factory.mktemp("triton")
    golden = image()
    model = onnx.load(bundles("darken") / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    found = {
        "darken": bundles("darken"),
        "any": bundles("any"),
        "batching": write_bundle(
            scratch / "batching", model, "64x48", golden, golden >> 1
        ),
        "fading": FADING.bundle(scratch / "fading", clip_of(4, SIZE)),
        "seeing": Seeing("61x45").bundle(scratch / "seeing", clip_of(4, SIZE)),
        "forgetful": FADING.bundle(scratch / "forgetful", clip_of(4, SIZE)),
    }
    repository = scratch / "models"
    for name, folder in found.items():
        options = TritonOptions(idle=1.0 if name == "forgetful" else 60.0)
        add_to_repository(Bundle.open(folder), repository, options)
    with TritonServer(repository, scratch) as server:
        yield server, found


@pytest.fixture
def model(served):
    """Loads a bundle that the server has: ``model("fading")``."""
    server, found = served
    opened = []

    def opens(name):
        opened.append(load(found[name], f"triton://{server.address}/{name}"))
        return opened[-1]

    yield opens
    for each in opened:
        each.close()


def pictures(session, clip):
    return [session(frame) for frame in clip]


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_server_reads_every_configuration_and_warms_up(served):
    server, found = served
    log = server.log.read_text()
    for name in found:
        assert re.search(rf"\| {name} +\| 1 +\| READY +\|", log), log[-3000:]
        golden, _ = Bundle.open(found[name]).golden_frames()
        seen = (server.repository / name / "1" / "first-frame").read_bytes()
        assert seen == golden.tobytes()


@pytest.mark.parametrize("name", ["darken", "any", "batching"])
def test_frames_come_back_derained(model, image, name):
    triton = model(name)
    assert triton.description.startswith("Triton 2.")
    assert triton.description.endswith(f", model {name}")
    for shift in range(3):
        np.testing.assert_array_equal(
            triton(image(shift=shift)), image(shift=shift) >> 1
        )
    assert triton.times.compute_ms > 0
    assert not triton.notes
    assert triton.backend.endswith(f"/{name}")
    assert triton.advice is None


def test_frames_of_several_sizes(model, image):
    triton = model("any")
    for size in (Size(64, 48), Size(32, 16), Size(64, 48)):
        np.testing.assert_array_equal(triton(image(size)), image(size) >> 1)


def test_cameras_have_a_memory_each(model):
    triton = model("fading")
    clips = [clip_of(6, SIZE, seed) for seed in range(3)]
    sessions = [triton.session() for _ in clips]
    got = [[], [], []]
    for frames in zip(*clips, strict=True):
        for pictures_, frame, session in zip(got, frames, sessions, strict=True):
            pictures_.append(session(frame))
    for one, clip in zip(got, clips, strict=True):
        assert_same(one, FADING.derain(clip))


def test_two_processes_or_connections_are_two_cameras(model):
    clip = clip_of(5, SIZE)
    first, second = model("fading"), model("fading")
    assert_same(pictures(first, clip[:3]), FADING.derain(clip)[:3])
    assert_same(pictures(second, clip), FADING.derain(clip))
    assert_same(pictures(first, clip[3:]), FADING.derain(clip)[3:])


def test_after_a_reset_a_clip_begins(model):
    triton, clip = model("fading"), clip_of(4, SIZE)
    for _ in range(2):
        pictures(triton, clip_of(2, SIZE, seed=7))
        triton.reset()
        assert_same(pictures(triton, clip), FADING.derain(clip))
        triton.reset()
    assert_same([frame.copy() for frame in triton.stream(clip)], FADING.derain(clip))


def test_look_ahead(model):
    clip = clip_of(6, SIZE)
    got = [frame.copy() for frame in model("seeing").stream(clip)]
    assert_same(got, Seeing("61x45").derain(clip))


def test_one_bad_frame_poisons_nothing(model):
    triton, clip = model("fading"), clip_of(4, SIZE)
    pictures(triton, clip)
    with pytest.raises(StateError, match="no longer finite"):
        triton(np.full_like(clip[0], 255))
    assert_same(pictures(triton, clip), FADING.derain(clip))


def test_a_camera_that_was_away_begins_anew(model, until):
    triton, clip = model("forgetful"), clip_of(4, SIZE)
    pictures(triton, clip[:2])

    def forgotten():
        import time

        time.sleep(2.5)
        try:
            triton(clip[2])
        except StateError as error:
            return str(error)
        return None

    assert "has forgotten the frames before this one" in until(forgotten)
    assert_same(pictures(triton, clip), FADING.derain(clip))


def test_without_shared_memory_frames_are_sent(model, image, monkeypatch):
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    def refuse(*arguments):
        raise InferenceServerException("Unable to open shared memory region")

    monkeypatch.setattr(InferenceServerClient, "register_system_shared_memory", refuse)
    triton = model("darken")
    for shift in range(2):
        np.testing.assert_array_equal(
            triton(image(shift=shift)), image(shift=shift) >> 1
        )
    (note,) = triton.notes
    assert "does not see this machine's shared memory (docker run --ipc host)" in note


def test_shared_memory_is_given_back(model, image, served):
    import tritonclient.grpc as grpc

    client = grpc.InferenceServerClient(served[0].address)

    def regions():
        return len(client.get_system_shared_memory_status().regions)

    before = regions()
    triton = model("any")
    triton(image())
    triton(image(Size(32, 16)))
    assert regions() == before + 2
    triton.close()
    assert regions() == before
    client.close()


def test_derain_run_makes_the_same_file(served, invoke, make_video, tmp_path):
    server, found = served
    source = make_video(tmp_path / "in.mp4", 6, size=Size(64, 48))
    backends = {"here": "onnxruntime", "there": f"triton://{server.address}/darken"}
    for name, backend in backends.items():
        run = ("--source", source, "--sink", tmp_path / f"{name}.mp4")
        result = invoke(found["darken"], *run, "--backend", backend)
        assert result.exit_code == 0, result.output
    here, there = ((tmp_path / f"{name}.mp4").read_bytes() for name in backends)
    assert here == there


def test_a_model_of_another_bundle_is_refused(served):
    server, found = served
    for bundle, name in (("darken", "any"), ("fading", "darken"), ("any", "seeing")):
        with pytest.raises(EngineError, match="was made of another bundle than this"):
            load(found[bundle], f"triton://{server.address}/{name}")


def test_a_model_that_is_not_there_is_one_line(served):
    server, found = served
    with pytest.raises(EngineError, match=r"unknown model.*derain-triton") as caught:
        load(found["darken"], f"triton://{server.address}/nothing")
    assert "\n" not in str(caught.value)


def test_a_memory_that_is_closed_or_of_another_backend_is_one_line(model, image):
    triton = model("darken")
    memory = triton._backend.new_memory()
    memory.close()
    memory.close()
    with pytest.raises(EngineError, match="this memory is closed"):
        triton._backend.infer(image()[None], memory)
    for other in (NoMemory(), model("darken")._backend.new_memory()):
        with pytest.raises(EngineError, match="this memory is of another backend"):
            triton._backend.infer(image()[None], other)


def test_nobody_answers(bundles):
    (port,) = free_ports(1)
    with pytest.raises(EngineError, match=r"no Triton server answers at .*8001 unless"):
        load(bundles("darken"), f"triton://127.0.0.1:{port}/darken")


@pytest.mark.parametrize(
    "name", ["triton", "triton://a", "triton://a:b/c", "triton://"]
)
def test_an_address_is_needed(bundles, name):
    with pytest.raises(
        EngineError, match="is not of the form triton://HOST:PORT/MODEL"
    ):
        open_backend(name, Bundle.open(bundles("darken")))


def test_only_a_server_has_an_address(bundles, invoke, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown backend 'onnxruntime://a:1/b'"):
        open_backend("onnxruntime://a:1/b", Bundle.open(bundles("darken")))
    result = invoke(
        *(bundles("darken"), "--source", "test://rain", "--sink", "null:"),
        *("--backend", "tensorrt://a:1/b"),
    )
    assert result.exit_code == 2
    with pytest.raises(EngineError, match="wants the address of a server"):
        check_backend("triton")
