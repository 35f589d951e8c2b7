"""Networks with a memory: exported, proven over clips, run frame by frame."""

import itertools
import json
import logging
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from derain.core.bundle import Bundle
from derain.core.errors import (
    ConfigError,
    MediaError,
    NetworkError,
    VerificationError,
)
from derain.core.metrics import psnr_db
from derain.core.sizes import Size
from derain.core.synthetic.rain import rainy_clip
from derain.export import drift, pipeline, reference
from derain.export.cli import main
from derain.export.drift import Drift, require_bounded
from derain.export.pipeline import export
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import to_frame, to_picture
from derain.runtime.derainer import load
from derain.runtime.tensorrt.engine_bytes import measure_engine_bytes
from derain.runtime.tensorrt.engine_states import state_ranges
from derain.runtime.tensorrt.int8_bytes import compared, int8_bytes
from support.video_networks import (
    BsvdLike,
    EdvrLike,
    FastDvdNetLike,
    RlspLike,
    RvmLike,
    S2vdLike,
    ThreeArguments,
    lively,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@dataclass
class Case:
    network: type[nn.Module]
    options: dict[str, object]
    sizes: list[str] = field(default_factory=lambda: ["48x32"])
    stack: object = None  # how a window goes into the network

    @property
    def window(self):
        return self.options.get("window", 1)


def channels(pictures):
    return [torch.cat(pictures, 1)]


def time_first(pictures):
    return [torch.stack(pictures, 1)]


def time_last(pictures):
    return [torch.stack(pictures, 2)]


# The sizes of S2vdLike, and of the ranges, are padded.
FIVE = {"window": 5, "look_ahead": 2}
CASES = {
    "fastdvdnet": Case(FastDvdNetLike, {**FIVE, "size": "48x32"}, stack=channels),
    "s2vd": Case(
        S2vdLike, {**FIVE, "size": "47x31", "multiple_of": 2}, ["47x31"], time_last
    ),
    "edvr-dynamic-fp16": Case(
        EdvrLike,
        {
            "window": 5,
            "look_ahead": 1,
            "dynamic": "33x32,48x40,64x64",
            "multiple_of": 4,
            "precision": "fp16",
        },
        ["48x40", "33x50"],
        time_first,
    ),
    "arguments": Case(ThreeArguments, {"window": 3, "size": "48x32"}, stack=list),
    "rvm-dynamic": Case(
        RvmLike,
        {"dynamic": "40x32,48x48,100x64", "multiple_of": 16},
        ["41x33", "100x64"],
    ),
    "rvm-fp16": Case(
        RvmLike, {"size": "40x30", "multiple_of": 16, "precision": "fp16"}, ["40x30"]
    ),
    "rlsp-dynamic-fp16": Case(
        RlspLike,
        {"dynamic": "40x32,48x48,99x64", "multiple_of": 2, "precision": "fp16"},
        ["41x33", "99x64"],
    ),
    "bsvd": Case(BsvdLike, {"size": "48x32", "look_ahead": 1, "bgr": True}),
}


def by_pytorch(case, facts, mode, clip):
    """Each frame by hand, without the project's own stream."""
    network = lively(case.network())
    pictures = [to_picture(torch.from_numpy(f), facts, mode=mode) for f in clip]
    size = Size(clip[0].shape[1], clip[0].shape[0])
    height, width = pictures[0].shape[2:]
    states = []
    if case.window == 1:
        said = network.states
        if case.network is RlspLike:
            states = [torch.zeros(1, 3, height, width)]
            states += [torch.zeros(1, 12, height // 2, width // 2)]
        else:
            states = [torch.zeros(shape) for shape in said(height, width)]
    derained = []
    with torch.no_grad():
        for k, picture in enumerate(pictures):
            if case.window > 1:
                earlier = [pictures[0]] * case.window + pictures
                seen = earlier[k + 1 : k + 1 + case.window]
                y = network(*case.stack(seen))
            else:
                y, *states = network(picture, *states)
            derained.append(to_frame(y, size, facts).numpy())
    return derained


def by_onnxruntime(bundle, clip):
    """Each frame through the file, as any program would run it."""
    session = ort.InferenceSession(
        bundle.model_path, providers=["CPUExecutionProvider"]
    )
    states = bundle.manifest.states
    size = Size(clip[0].shape[1], clip[0].shape[0])
    shapes = bundle.manifest.state_shapes(size)
    memory = {
        state.input: clip[0][None] if state.start == "frame" else np.zeros(n, s.dtype)
        for state, n, s in zip(states, shapes, states, strict=True)
    }
    wanted = ["derained", *(state.output for state in states)]
    floats = any(state.dtype != "uint8" for state in states)
    derained = []
    for frame in clip:
        inputs = {"frame": frame[None], **memory}
        y, *new, health = session.run(
            [*wanted, "health" if floats else "derained"], inputs
        )
        if floats:
            assert health.shape == ()
            assert health.dtype == np.float32
            assert health == 0
        memory = dict(zip(memory, new, strict=True))
        for state, shape in zip(states, shapes, strict=True):
            assert memory[state.input].shape == shape
            assert memory[state.input].dtype == state.dtype
        derained.append(y[0])
    return derained


@pytest.mark.parametrize("name", CASES)
def test_a_network_with_a_memory_is_its_graph_frame_by_frame(name):
    case = CASES[name]
    bundle = export(lively(case.network()), output="bundle", **case.options)
    manifest = bundle.manifest
    assert Bundle.open(bundle.folder).manifest == manifest
    half = manifest.precision == "fp16"
    floats = {s.dtype for s in manifest.states} - {"uint8"}
    assert floats <= {"float16" if half else "float32"}
    assert len(manifest.states) == case.window - 1 + len(floats) * (
        len(manifest.states) if case.window == 1 else 0
    )
    assert manifest.look_ahead == case.options.get("look_ahead", 0)

    graph = onnx.load(bundle.model_path).graph
    names = [state.name for state in manifest.states]
    health = ["health"] if floats else []
    assert [x.name for x in graph.input] == ["frame", *(f"{n}_in" for n in names)]
    assert [x.name for x in graph.output] == [
        "derained",
        *(f"{n}_out" for n in names),
        *health,
    ]

    facts = NetworkFacts(
        colour="bgr" if case.options.get("bgr") else "rgb",
        multiple_of=case.options.get("multiple_of", 1),
    )
    mode = facts.pad_mode(manifest.sizes)
    for size in map(Size.parse, case.sizes):
        clip = [rainy for rainy, _ in rainy_clip(size, 10, seed=3)]
        got = by_onnxruntime(bundle, clip)
        wanted = by_pytorch(case, facts, mode, clip)
        for k, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
            assert psnr_db(mine, theirs) > (52 if half else 75), f"frame {k} of {size}"
            # A network that leaves the frame as it is would prove nothing.
            assert psnr_db(mine, clip[max(k - manifest.look_ahead, 0)]) < 45

    rainy, expected = bundle.golden_clip()
    assert len(rainy) == len(expected) == max(4, case.window)
    late = manifest.look_ahead
    again = by_onnxruntime(bundle, [*rainy, *[rainy[-1]] * late])[late:]
    for mine, theirs in zip(again, expected, strict=True):
        assert psnr_db(mine, theirs) > 60
    with load(bundle.folder, backend="onnxruntime") as derainer:
        assert derainer.golden_psnr_db > 60
    figures = manifest.verification
    count = 8 if manifest.sizes.is_static else 24
    assert figures["onnxruntime"]["frames"] == count
    if case.window == 1:
        assert figures["drift"]["frames"] == 64
        assert figures["drift"]["last_psnr_db"] > (50 if half else 60)
    else:
        assert "drift" not in figures
        assert manifest.network["window"] == case.window


def test_the_first_frames_of_a_clip_are_in_motion_and_so_is_the_rain():
    frames = pipeline.clips_of_sizes(pipeline.ExportOptions(size="96x64").sizes)
    assert len(frames) == 8
    for before, after in itertools.pairwise(frames):
        assert 10 < psnr_db(before, after) < 35


class Mean(nn.Module):
    def states(self, height, width):
        return [(1, 3, height, width)]

    def forward(self, x, mean):
        mean = mean + 0.25 * (x - mean)
        return 0.61 * x + 0.39 * mean, mean


class Twice(Mean):
    def states(self, height, width):
        return [(1, 3, height, width)] * 2

    def forward(self, x, a, b):
        mean = (a + b + x) / 3
        return x, mean, mean


class Passes(Twice):
    """What comes in as the first state comes out as the second, and the first is x."""

    def forward(self, x, a, b):
        return 0.5 * (x + b), x, a


class Large(Mean):
    def forward(self, x, mean):
        return x * (mean + 1e-6 > 0), mean + 1e5


def test_states_that_change_places_keep_their_names():
    bundle = export(Passes(), size="16x16", precision="fp16")
    clip = [rainy for rainy, _ in rainy_clip(Size(16, 16), 5)]
    zero = np.zeros_like(clip[0])
    got = by_onnxruntime(bundle, clip)
    for frame, before, mine in zip(clip, [zero, zero, *clip], got, strict=False):
        mean = (frame.astype(float) + before) / 2
        assert np.abs(mine - mean).max() <= 1


def test_one_tensor_for_two_states_is_refused():
    with pytest.raises(NetworkError, match="state_0 and state_1 are one tensor; let"):
        export(Twice(), size="16x16")


def test_a_state_that_fp16_does_not_hold_is_refused():
    with pytest.raises(VerificationError, match=r"a state reaches 8e\+05, which does"):
        export(Large(), size="16x16", precision="fp16")


def test_health_is_nan_where_a_state_is_not_finite():
    bundle = export(Mean(), size="16x16")
    session = ort.InferenceSession(
        bundle.model_path, providers=["CPUExecutionProvider"]
    )
    frame = np.zeros((1, 16, 16, 3), np.uint8)
    for value, healthy in ((1e38, True), (np.inf, False), (np.nan, False)):
        state = np.zeros((1, 3, 16, 16), np.float32)
        state[0, 0, 0, 0] = value
        inputs = {"frame": frame, "state_0_in": state}
        (health,) = session.run(["health"], inputs)
        assert (health == 0) == healthy
        assert np.isnan(health) != healthy


RAINY = [rainy for rainy, _ in rainy_clip(Size(48, 32), 24, seed=2)]


MORE = compared(3_000_000, 2_000_000, Size(48, 32), "1.7.1")


@pytest.fixture(scope="module")
def int8_export(tmp_path_factory):
    """An INT8 bundle with states that is said to move much, and what was logged."""
    folder, lines = tmp_path_factory.mktemp("int8"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger(pipeline.__name__).addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "measure_int8", lambda *arguments: MORE)
        bundle = _exported_int8(folder)
    logging.getLogger(pipeline.__name__).removeHandler(handler)
    return bundle, lines


@pytest.fixture(scope="module")
def int8(int8_export):
    return int8_export[0]


def _exported_int8(folder):
    return export(
        lively(RlspLike()),
        size="48x32",
        multiple_of=2,
        precision="int8",
        calibrate_on=RAINY,
        method="percentile",
        min_psnr_db=25,
        max_drop_db=9,
        no_cache=True,
        output=folder / "int8",
    )


def test_int8_of_a_network_with_a_memory_keeps_its_states_in_fp16(int8):
    manifest = int8.manifest
    assert manifest.precision == "int8"
    assert [state.dtype for state in manifest.states] == ["float16"] * 2
    assert manifest.verification["int8"]["layers"]["int8"] >= 2
    assert manifest.verification["int8"]["frames"]["clips"] == 3
    assert len(manifest.golden.inputs) == 4


def test_int8_that_moves_more_bytes_than_fp16_says_so_and_is_made(int8_export):
    bundle, lines = int8_export
    assert [line for line in lines if "INT8 moves" in line] == [MORE.warning()]
    assert int8_bytes(bundle.manifest) == MORE


def test_int8_is_proven_over_a_clip_and_its_drift_is_known(int8):
    verification = int8.manifest.verification
    assert verification["drift"]["frames"] == 64
    assert 25 < verification["drift"]["last_psnr_db"] < 60  # FP16 alone is nearer
    assert verification["onnxruntime"]["frames"] == 8


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_int8_with_a_memory_runs(int8, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    case, facts, frames = Case(RlspLike, {}), NetworkFacts(multiple_of=2), RAINY
    with load(int8.folder, backend=backend) as derainer:
        got = [derainer(frame).copy() for frame in frames[:6]]
        derainer.reset()
        again = derainer(frames[0])
        assert np.array_equal(again, got[0])
    wanted = by_pytorch(case, facts, "reflect", frames[:6])
    for k in range(6):
        assert psnr_db(got[k], wanted[k]) > 28
    alone = by_pytorch(case, facts, "reflect", frames[5:6])[0]
    assert psnr_db(got[5], wanted[5]) > psnr_db(got[5], alone) + 3  # it remembers


def test_tensorrt_compiles_int8_with_a_memory(int8):
    pytest.importorskip("tensorrt_rtx")
    manifest = int8.manifest
    states = state_ranges(manifest, manifest.sizes)
    engine = measure_engine_bytes(
        int8.model_path, "int8", manifest.sizes.optimum, "tensorrt-rtx", states
    )
    assert engine.moved_bytes > 0


def test_a_graph_out_of_tolerance_is_refused(monkeypatch):
    right = reference.VideoStream.derain
    monkeypatch.setattr(
        reference.VideoStream, "derain", lambda *arguments: 255 - right(*arguments)
    )
    with pytest.raises(VerificationError, match="the FP32 graph differs from PyTorch"):
        export(Mean(), size="16x16", output="bad")


def test_a_graph_that_drifts_is_refused(monkeypatch, said):
    figures = {"frames": 64, "size": Size(96, 64), "first_psnr_db": 60.0}
    steady = Drift(**figures, last_psnr_db=58)
    require_bounded(steady, 50)
    assert said() == []
    require_bounded(Drift(**figures, last_psnr_db=51), 50)
    assert "60.0 dB from PyTorch in the first 8 of 64 frames, and 51.0" in said()[0]
    grows = Drift(**figures, last_psnr_db=49)
    monkeypatch.setattr(pipeline, "measure_drift", lambda *args, **options: grows)
    with pytest.raises(
        VerificationError, match=r"the graph drifts from PyTorch: 60\.0"
    ):
        export(Mean(), size="16x16", precision="fp16")


def test_drift_is_what_pytorch_is_away_at_the_end(monkeypatch):
    """PyTorch with another memory is further and further away."""
    right = drift.VideoStream.derain
    frames = iter(range(64))

    def later(stream, frame):
        picture = right(stream, frame).astype(int) + next(frames) // 8
        return picture.clip(0, 255).astype(np.uint8)

    monkeypatch.setattr(drift.VideoStream, "derain", later)
    network = pipeline.open_network(Mean()).video
    found = drift.measure_drift(
        *(None, network, pipeline.ExportOptions(size="640x480").sizes),
        opset=20,
        row="any",
        half=None,
    )
    assert found.size == Size(96, 64)
    assert found.first_psnr_db > 75
    assert 31 < found.last_psnr_db < 32.5  # 7 levels are 31.2 dB


def test_a_clip_shorter_than_the_window_is_refused():
    frames = [np.zeros((16, 16, 3), np.uint8)] * 4
    with pytest.raises(MediaError, match="a clip of at least 5 frames, got 4"):
        export(FastDvdNetLike(), window=5, size="16x16", frames=frames)


def test_a_network_that_ships_takes_no_window():
    with pytest.raises(ConfigError, match=r"for a network of your own, .*: --window"):
        export("qsnet", window=3)


def test_the_command_says_what_is_remembered(monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Middle(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return (x[:, :3] + x[:, 3:6] + x[:, 6:]) / 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["--model", "mine:Middle", "--size", "16x16", "--window", "3"]
    result = CliRunner().invoke(main, [*arguments, "--look-ahead", "1", "-o", "one"])
    assert result.exit_code == 0, result.output
    assert "2 states, 1 frames late" in result.stdout
    assert json.loads((tmp_path / "one" / "manifest.json").read_text())["schema"] == 2
