"""Rows of networks with a memory: their states run, whoever runs the network."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")
pytest.importorskip("onnx", reason="the exporter needs derain[export]")

import torch

from derain.benchmarks.latency.candidate import FrameMemory
from derain.benchmarks.latency.candidates import CandidateSpec, open_candidate
from derain.benchmarks.latency.case import Measurement, _measure_quality
from derain.benchmarks.latency.fed_back import FedBack
from derain.benchmarks.latency.plain_export import export_plain
from derain.benchmarks.latency.runners import LocalRunner, RemoteRunner
from derain.benchmarks.own_network import OwnNetwork
from derain.benchmarks.quality.truth import measure_truth
from derain.core.pairs import Pair
from derain.core.sizes import Size
from derain.models.loading import open_network
from derain.models.registry import NetworkFacts
from derain.models.video_stream import VideoStream
from support.memory_network import Fading, Seeing, clip_of

SIZE = Size(48, 32)
# Network, window, look-ahead, multiple of; and how many numbers it remembers.
PIXELS = SIZE.pixels
NETWORKS = [
    ("FastDvdNetLike", 5, 2, 4, 4 * 3 * PIXELS),
    ("S2vdLike", 5, 2, 2, 4 * 3 * PIXELS),
    ("EdvrLike", 5, 1, 1, 4 * 3 * PIXELS),
    ("ThreeArguments", 3, 0, 1, 2 * 3 * PIXELS),
    ("RvmLike", 1, 0, 16, PIXELS + PIXELS * 6 // 16 + PIXELS * 8 // 64 + 6 * 10),
    ("RlspLike", 1, 0, 2, 6 * PIXELS),
    ("BsvdLike", 1, 1, 1, 13 * PIXELS),
]
by_network = pytest.mark.parametrize(
    ("name", "window", "look_ahead", "multiple_of", "numbers"),
    NETWORKS,
    ids=[name for name, *_ in NETWORKS],
)


def spec_of(name, window=1, look_ahead=0, multiple_of=1, candidate="eager", **fields):
    return CandidateSpec(
        key=candidate,
        candidate=candidate,
        model=f"support.video_networks:{name}",
        size=SIZE,
        threads=1,
        random_weights=True,
        own=OwnNetwork(
            facts=NetworkFacts(multiple_of=multiple_of),
            window=window,
            look_ahead=look_ahead,
        ),
        **fields,
    )


def loaded(spec):
    own = spec.own
    return open_network(
        spec.model,
        random_weights=True,
        facts=own.facts,
        window=own.window,
        look_ahead=own.look_ahead,
    )


def wanted(spec, clip):
    """What PyTorch makes of `clip`: the reference of every export."""
    stream, late = VideoStream(loaded(spec).video), spec.own.look_ahead
    return [stream.derain(frame) for frame in [*clip, *clip[-1:] * late]][late:]


def assert_close(got, expected):
    difference = np.abs(np.stack(got).astype(int) - np.stack(expected))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


@by_network
def test_eager_is_the_exporters_reference(
    name, window, look_ahead, multiple_of, numbers
):
    spec = spec_of(name, window, look_ahead, multiple_of)
    runner = LocalRunner(open_candidate(spec), [])
    clip = clip_of(6, SIZE)
    assert_close(runner.derain(clip), wanted(spec, clip))
    assert runner.remembers == FrameMemory(4 * numbers, look_ahead)
    # Once more: what came before is forgotten.
    assert_close(runner.derain(clip[2:4]), wanted(spec, clip[2:4]))


@by_network
def test_a_plain_export_is_fed_its_memory(
    tmp_path, name, window, look_ahead, multiple_of, numbers
):
    path = tmp_path / "plain.onnx"
    spec = spec_of(name, window, look_ahead, multiple_of)
    export_plain(loaded(spec), SIZE, path)
    clip = clip_of(6, SIZE)
    expected = wanted(spec, clip)
    spec = replace(spec, candidate="plain-onnx", backend="onnxruntime", file=path)
    runner = LocalRunner(open_candidate(spec), clip)
    assert_close(runner.derain(clip), expected)
    assert runner.remembers == FrameMemory(4 * numbers, look_ahead)
    assert len(runner.sample(3).latencies_ms) == 3
    assert_close(runner.derain(clip), expected)


def test_openvino_is_fed_its_memory(tmp_path):
    pytest.importorskip("openvino")
    path = tmp_path / "plain.onnx"
    spec = spec_of("RlspLike", multiple_of=2)
    export_plain(loaded(spec), SIZE, path)
    clip = clip_of(5, SIZE)
    expected = wanted(spec, clip)
    spec = replace(spec, candidate="openvino", file=path)
    assert_close(LocalRunner(open_candidate(spec), clip).derain(clip), expected)


def test_compiled_networks_are_fed_their_memory(monkeypatch):
    """Without the C++ compiler, which takes minutes where others want the cores."""
    compiler = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", compiler)
    spec = spec_of("RlspLike", multiple_of=2, candidate="compile")
    clip = clip_of(4, SIZE)
    runner = LocalRunner(open_candidate(spec), clip)
    assert_close(runner.derain(clip), wanted(spec, clip))


def test_states_go_on_from_frame_to_frame():
    """What is timed is the steady state, not one first frame after another."""
    spec = spec_of("RlspLike", multiple_of=2)
    clip = clip_of(2, SIZE)
    candidate = open_candidate(spec)
    first, second = (candidate.infer(clip[0]).copy() for _ in range(2))
    assert (first != second).any()
    candidate.reset()
    np.testing.assert_array_equal(candidate.infer(clip[0]), first)


@pytest.fixture(params=[Fading, Seeing])
def bundle(request, tmp_path):
    """A bundle with a memory, what it makes of a clip, and its row."""
    by_hand = request.param(str(SIZE))
    folder = by_hand.bundle(tmp_path / "b", clip_of(4, SIZE))
    spec = CandidateSpec(
        key="bundle b/onnxruntime",
        candidate="bundle",
        model="qsnet",
        size=SIZE,
        threads=1,
        file=folder,
        backend="onnxruntime",
    )
    return by_hand, spec


STATE_BYTES = {Fading: 3 * PIXELS * 2, Seeing: 2 * 3 * PIXELS}


def test_a_bundle_remembers_and_may_look_ahead(bundle):
    by_hand, spec = bundle
    clip = clip_of(5, SIZE, seed=3)
    runner = LocalRunner(open_candidate(spec), clip)
    for _ in range(2):
        np.testing.assert_array_equal(runner.derain(clip), by_hand.derain(clip))
    sample = runner.sample(4)
    assert len(sample.latencies_ms) == 4
    assert runner.stream_seconds(3) > 0
    memory = FrameMemory(STATE_BYTES[type(by_hand)], by_hand.look_ahead)
    assert runner.remembers == memory
    # Of what was timed nothing is left.
    np.testing.assert_array_equal(runner.derain(clip[3:]), by_hand.derain(clip[3:]))


def test_pictures_of_a_truth_have_no_memory(bundle):
    by_hand, spec = bundle
    frames = clip_of(3, SIZE, seed=4)
    runner = LocalRunner(open_candidate(spec), frames)
    pairs = [
        Pair(str(k), frame, by_hand.derain([frame])[0])
        for k, frame in enumerate(frames)
    ]
    assert measure_truth(runner, pairs, SIZE).psnr_db is None  # each is perfect


def test_a_bundle_is_held_against_the_end_of_its_golden_clip(bundle, monkeypatch):
    _, spec = bundle
    measurement = Measurement(spec)
    measurement.runner = LocalRunner(open_candidate(spec), clip_of(2, SIZE))
    measurement.runner.sample(3)  # what was timed before does not show
    assert _measure_quality([measurement]) == "golden frame"
    assert measurement.quality.identical == 1.0


def test_a_process_of_its_own_says_what_it_remembers(bundle, tmp_path):
    by_hand, spec = bundle
    clip = clip_of(4, SIZE)
    runner = RemoteRunner(spec, clip, tmp_path / "log")
    try:
        assert runner.remembers.look_ahead == by_hand.look_ahead
        np.testing.assert_array_equal(runner.derain(clip), by_hand.derain(clip))
    finally:
        runner.close()


def test_a_window_begins_full_of_its_first_picture():
    fed_back = FedBack(3, list)
    assert fed_back.inputs("a") == ["a", "a", "a"]
    assert fed_back.inputs("b") == ["a", "a", "b"]
    fed_back.reset()
    assert fed_back.inputs("c") == ["c", "c", "c"]
