"""A bundle as a model in Triton's repository: every tensor against the graph."""

import errno
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from derain.core.bundle import Bundle
from derain.core.errors import ExportError
from derain.core.sizes import Size
from support.bundles import write_bundle
from support.memory_network import Fading, Seeing, clip_of

onnx = pytest.importorskip("onnx", reason="needs derain[export]")
pytest.importorskip("tritonclient.grpc", reason="needs derain[triton]")

SIZE = Size(61, 45)


@pytest.fixture
def derain_triton():
    """Runs ``derain-triton`` in this process."""
    from click.testing import CliRunner

    from derain.export.triton_cli import main

    return lambda *a: CliRunner().invoke(main, [str(each) for each in a])


@pytest.fixture
def added(derain_triton, tmp_path):
    """Puts a bundle into a repository; its folder and configuration there."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    def add(bundle, *options):
        repository = tmp_path / "models"
        result = derain_triton(bundle, "--repository", repository, *options)
        assert result.exit_code == 0, result.output
        folder = repository / bundle.name
        assert result.stdout == f"{folder}\n"
        text = (folder / "config.pbtxt").read_text()
        return folder, text_format.Parse(text, ModelConfig())

    return add


@pytest.fixture
def fading(tmp_path):
    return Fading("61x45", multiple_of=4).bundle(
        tmp_path / "fading", clip_of(4, SIZE), min_psnr_db=40.0
    )


@pytest.fixture
def batching(tmp_path, bundles, image):
    """A bundle that takes several frames at once."""
    model = onnx.load(bundles("darken") / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    golden = image()
    return write_bundle(tmp_path / "batching", model, "64x48", golden, golden >> 1)


def dims(tensors):
    return {each.name: (each.data_type, list(each.dims)) for each in tensors}


def test_a_bundle_without_a_memory_is_served_as_it_is(added, bundles):
    folder, config = added(bundles("darken"))
    model = (bundles("darken") / "model.onnx").read_bytes()
    assert (folder / "1" / "model.onnx").read_bytes() == model
    assert (config.name, config.backend) == ("darken", "onnxruntime")
    assert config.max_batch_size == 0
    assert dims(config.input) == {"frame": (2, [1, 48, 64, 3])}  # 2: TYPE_UINT8
    assert dims(config.output) == {"derained": (2, [1, 48, 64, 3])}
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("sequence_batching")


def test_sizes_that_are_free_stay_free(added, bundles):
    _, config = added(bundles("any"))
    assert dims(config.input) == {"frame": (2, [1, -1, -1, 3])}
    (warm_up,) = config.model_warmup
    assert list(warm_up.inputs["frame"].dims) == [1, 48, 64, 3]


def test_it_is_warmed_up_with_the_golden_frame(added, bundles):
    folder, config = added(bundles("darken"))
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 1
    given = warm_up.inputs["frame"]
    golden, _ = Bundle.open(bundles("darken")).golden_frames()
    content = (folder / "warmup" / given.input_data_file).read_bytes()
    assert content == golden.tobytes()
    assert list(given.dims) == [1, 48, 64, 3]


def test_a_free_batch_is_filled_by_several_cameras(added, batching):
    _, config = added(batching, "--max-batch", 4)
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert dims(config.input) == {"frame": (2, [48, 64, 3])}
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 1
    assert list(warm_up.inputs["frame"].dims) == [48, 64, 3]


def test_a_memory_is_a_sequence_with_its_states(added, fading):
    folder, config = added(fading, "--sequences", 5, "--idle", 2.5)
    batching = config.sequence_batching
    assert batching.oldest.max_candidate_sequences == 5
    assert batching.max_sequence_idle_microseconds == 2_500_000
    assert dims(config.input) == {"frame": (2, [1, 45, 61, 3])}
    health = {"health": (11, [1])}  # 11: TYPE_FP32
    assert dims(config.output) == {"derained": (2, [1, 45, 61, 3]), **health}
    inputs = [state.input_name for state in batching.state]
    outputs = [state.output_name for state in batching.state]
    assert inputs == sorted(inputs) == ["state_0_in", "state_1_in"]
    assert outputs == sorted(outputs) == ["state_0_out", "state_1_out"]
    for state in batching.state:
        (start,) = state.initial_state
        assert start.zero_data
        assert (start.data_type, start.dims) == (state.data_type, state.dims)
    (control,) = batching.control_input
    assert control.name == "sequence_start"
    assert control.control[0].int32_false_true == [0, 1]
    (warm_up,) = config.model_warmup
    graph = onnx.load(folder / "1" / "model.onnx").graph
    assert set(warm_up.inputs) == {value.name for value in graph.input}


@pytest.mark.parametrize("network", [Fading("61x45", multiple_of=4), Seeing("61x45")])
def test_the_graph_for_triton_makes_the_same_of_a_clip(added, tmp_path, network):
    """As the server would run it: zeros before a sequence, its first frame told."""
    clip = clip_of(5, SIZE)
    folder, config = added(network.bundle(tmp_path / "bundle", clip))
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    states = config.sequence_batching.state
    kinds = {each.name: each.type for each in session.get_inputs()}
    kept = {
        state.input_name: np.zeros(
            list(state.dims), np.uint8 if "uint8" in kinds[state.input_name] else "f4"
        )
        for state in states
    }
    made = []
    shown = [*clip, *clip[-1:] * network.look_ahead]
    for index, frame in enumerate(shown):
        given = {"frame": frame[None], **kept}
        given["sequence_start"] = np.array([index == 0], np.int32)
        names = [each.name for each in session.get_outputs()]
        results = dict(zip(names, session.run(names, given), strict=True))
        kept = {state.input_name: results[state.output_name] for state in states}
        if "health" in results:
            assert results["health"].tolist() == [0]
        made.append(results["derained"][0])
    for got, wanted in zip(
        made[network.look_ahead :], network.derain(clip), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dims: 45", "dims: 44", "does not fit its graph: inputs"),
        ('name: "health"', 'name: "wealth"', "does not fit its graph: outputs"),
        ("TYPE_UINT8", "TYPE_INT8", "does not fit its graph: inputs"),
        ('name: "sequence_start"', 'name: "start"', "does not fit its graph: inputs"),
        ("max_batch_size", "max_batches", "is not of Triton's form"),
        (
            r'input_name: "state_0_in"([^}]*?)output_name: "state_0_out"',
            r'input_name: "state_0_in"\1output_name: "state_1_out"',
            "does not fit its graph: outputs",
        ),
    ],
)
def test_what_does_not_fit_is_found_without_a_server(added, fading, old, new, message):
    from derain.export.triton_config import check_config
    from derain.export.triton_graph import tensors_of

    folder, _ = added(fading)
    graph = onnx.load(folder / "1" / "model.onnx").graph
    tensors = [tensors_of(list(each)) for each in (graph.input, graph.output)]
    text = (folder / "config.pbtxt").read_text()
    # Nothing is batched, and proto3 leaves out what is zero.
    text = f"max_batch_size: 0\n{text}"
    check_config(text, *tensors)
    with pytest.raises(ExportError, match=message):
        check_config(re.sub(old, new, text, count=1), *tensors)


def failed(result, message):
    assert result.exit_code == 1, result.output
    assert re.fullmatch(rf"Error: [^\n]*{message}[^\n]*\n", result.stderr), (
        result.stderr
    )


def test_a_model_that_exists_is_not_replaced_unasked(
    added, derain_triton, bundles, tmp_path
):
    folder, _ = added(bundles("darken"))
    (folder / "1" / "model.onnx").write_bytes(b"old")
    again = (bundles("darken"), "--repository", tmp_path / "models")
    failed(derain_triton(*again), "models/darken exists; replace it with --force")
    assert (folder / "1" / "model.onnx").read_bytes() == b"old"
    added(bundles("darken"), "--force")
    assert (folder / "1" / "model.onnx").read_bytes() != b"old"
    (folder / "config.pbtxt").write_text('name: "mine"')
    failed(derain_triton(*again, "--force"), "was not made by derain-triton; give")
    other = derain_triton(*again, "--name", "other")
    assert other.exit_code == 0
    assert (tmp_path / "models" / "other" / "config.pbtxt").is_file()


def test_the_old_model_stays_where_the_new_one_cannot_take_its_place(
    added, derain_triton, bundles, tmp_path, monkeypatch
):
    folder, _ = added(bundles("darken"))
    (folder / "1" / "model.onnx").write_bytes(b"old")
    rename = Path.rename

    def refuse(self, target):
        if Path(target) == folder and "-old-" not in self.name:
            raise OSError(errno.ENOSPC, "no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(
        "derain.export.bundle_writer._exchange", lambda new, folder: False
    )
    again = derain_triton(
        bundles("darken"), "--repository", tmp_path / "models", "--force"
    )
    failed(again, "models/darken cannot be written: no space")
    assert (folder / "1" / "model.onnx").read_bytes() == b"old"
    assert [each.name for each in folder.parent.iterdir()] == ["darken"]


def test_what_cannot_be_served_is_one_line(derain_triton, bundles, tmp_path, fading):
    to = ("--repository", tmp_path / "models")
    failed(derain_triton(tmp_path, *to), "is not a bundle")
    failed(derain_triton(bundles("darken"), *to, "--name", "a/b"), "'a/b' is no name")
    failed(
        derain_triton(bundles("darken"), *to, "--engine"),
        "has no engine; run: derain-compile",
    )
    failed(derain_triton(fading, *to, "--engine"), "its graph must change, which an")
    free = Fading("32x32,64x48,128x96")
    free.bundle(tmp_path / "free", clip_of(4, Size(64, 48)))
    failed(derain_triton(tmp_path / "free", *to), "must know the size of its states")
    assert not (tmp_path / "models").exists()
    (tmp_path / "file").write_text("")
    failed(
        derain_triton(bundles("darken"), "--repository", tmp_path / "file" / "a"),
        "cannot be written",
    )


def test_an_engine_is_served_as_a_plan(added, bundles, tmp_path):
    import json
    import shutil

    from derain.runtime.tensorrt.engine_record import EngineRecord

    folder = tmp_path / "compiled"
    shutil.copytree(bundles("darken"), folder)
    record = EngineRecord(
        file="a.plan",
        sha256="",
        bytes=4,
        backend="tensorrt",
        version="10.3.0",
        platform="linux-aarch64",
        gpu="Orin",
        compute_capabilities=("8.7",),
        driver=None,
        cuda=None,
        onnx_sha256="",
        sizes=Bundle.open(folder).manifest.sizes,
    )
    (folder / "a.plan").write_bytes(b"plan")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["engines"] = [record.to_json()]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    made, config = added(folder, "--engine")
    assert (made / "1" / "model.plan").read_bytes() == b"plan"
    assert not (made / "1" / "model.onnx").exists()
    assert (config.platform, config.backend) == ("tensorrt_plan", "")
