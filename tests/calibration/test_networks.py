"""Every network in INT8: exported, proven, and taken by TensorRT-RTX's compiler."""

import importlib.util
import math

import numpy as np
import onnx
import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")

from derain.calibration.apply import fingerprint
from derain.calibration.calibration_file import Calibration
from derain.calibration.equalization import find_chains
from derain.calibration.layers import find_layers, residual_adds, tensor_keys
from derain.calibration.options import CalibrationOptions
from derain.core.errors import VerificationError
from derain.core.sizes import SizeRange
from derain.export import pipeline, reference, verify
from derain.export.fp16 import Fp16Choice
from derain.export.frame_graph import wrap_frame
from derain.export.options import ExportOptions
from derain.export.passes import optimize
from derain.export.passes.batch_norms import fold_batch_norms
from derain.export.passes.cleanup import fold_constants
from derain.export.pipeline import CALIBRATION_FILE
from derain.export.verify import GraphComparison
from derain.models.loading import open_network
from derain.models.registry import MODELS
from derain.runtime.derainer import Derainer
from derain.runtime.tensorrt.compile import compile
from derain.training.quantised_layers import plan_of

# As in tests/export, whose exports are used again.
SIZE, SIZES = "72x56", "48x40,72x56,96x80"
# Those with a memory are calibrated over clips.
PLAIN = [name for name, entry in MODELS.items() if not entry.memory]
# The weights are untrained: this is about graphs, not about pictures.
LOOSE = CalibrationOptions(
    frames=3,
    no_cache=True,
    method="minmax",
    max_drop_db=99,
    min_psnr_db=15,
    max_flicker=99,
    equalise=False,  # other weights in the same graph
)


@pytest.fixture
def export(export_once, tmp_path, footage, monkeypatch):
    monkeypatch.setattr(pipeline, "to_onnx", export_once)
    monkeypatch.setattr(reference, "_SECONDS", math.inf)
    # FP16 alone is proven, network by network, in tests/export.
    choice = Fp16Choice(comparison=GraphComparison(1, 0, 0.0, 1.0, 99.0))
    monkeypatch.setattr(pipeline, "search_fp16", lambda *arguments: choice)

    def run(model, target, **options):
        given = ExportOptions(
            size=SIZE,
            precision="int8",
            target=target,
            output=tmp_path / "bundle",
            calibrate_on=str(footage),
            int8=LOOSE,
            **{"random_weights": True, "tolerance": 15, **options},
        )
        return pipeline.export_bundle(model, given).bundle

    return run


@pytest.fixture
def other_kernels(monkeypatch):
    """What runs the file is a level off, unless Q/DQ is computed as written."""
    run = verify.run_graph

    def off(*arguments, as_written=False):
        pictures = run(*arguments, as_written=as_written)
        return pictures if as_written else [picture ^ 1 for picture in pictures]

    monkeypatch.setattr(verify, "run_graph", off)


def int8_convolutions(path):
    """Convolutions that read INT8, and all of them."""
    graph = onnx.load(path).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    small = [c for c in convs if makers.get(c.input[0]) == "DequantizeLinear"]
    return len(small), len(convs)


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize("model", PLAIN)
@pytest.mark.usefixtures("shallow_dcsfn")
def test_every_network_compiles(export, model, record_property):
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'derain[tensorrt-rtx]'")
    bundle = export(model, "tensorrt")
    assert bundle.manifest.verification["parser"]["refused"] == 0
    small, _ = int8_convolutions(bundle.folder / "model.onnx")
    assert small == bundle.manifest.verification["int8"]["layers"]["int8"] > 0
    record = compile(bundle, backend="tensorrt-rtx", compute_capability=("8.6",))
    record_property("seconds", record.seconds)
    assert record.bytes > 0
    assert record.network_types["int8"] > 0


@pytest.mark.parametrize("model", PLAIN)
@pytest.mark.usefixtures("shallow_dcsfn")
def test_a_calibration_of_one_size_fits_the_graph_of_any_size(export_once, model):
    loaded = open_network(model, weights=None, random_weights=True)
    found = []
    for sizes in map(SizeRange.parse, (SIZE, SIZES)):
        core = export_once(loaded.network, loaded.facts, sizes, 20)
        wrap_frame(core, loaded.facts, sizes)
        optimize(core.model, "any")
        keys = tensor_keys(find_layers(core.model))
        chains = {keys[chain.tensor] for chain in find_chains(core.model)}
        found.append((fingerprint(core.model), chains))
    assert found[0] == found[1]


@pytest.mark.parametrize("model", PLAIN)
@pytest.mark.usefixtures("shallow_dcsfn")
def test_quantisation_in_the_loop_takes_the_layers_of_the_graph(export_once, model):
    import torch

    loaded = open_network(model, weights=None, random_weights=True)
    core = export_once(loaded.network, loaded.facts, SizeRange.parse(SIZE), 20)
    fold_constants(core.model)
    fold_batch_norms(core.model)
    graph = [layer for layer in find_layers(core.model) if not layer.stays]
    plan = plan_of(loaded.network, loaded.facts, [torch.rand(1, 3, 64, 64)])
    assert first_readers([layer.tensor for layer in graph]) == first_readers(
        list(plan.layers.values())
    )
    adds = residual_adds(core.model).values()
    assert len({tensor for *_, tensor in plan.additions}) == len(adds)
    assert len(plan.additions) == sum(map(len, adds))


def first_readers(tensors):
    """For each layer the number of the first that reads the same tensor."""
    return [tensors.index(tensor) for tensor in tensors]


def test_the_rest_of_the_graph_is_fp16(export):
    bundle = export("qsnet", "any")
    model = onnx.load(bundle.folder / "model.onnx")
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16} <= types
    assert onnx.TensorProto.FLOAT not in types
    said = bundle.manifest.verification["int8"]
    small, every = int8_convolutions(bundle.folder / "model.onnx")
    assert said["layers"] == {"int8": small, "fp16": every - small, "fp32": 0}
    assert "estimated_speedup" not in said


def test_for_processors_the_rest_is_fp32_and_the_bundle_derains(export):
    bundle = export("qsnet", "onnxruntime")
    model = onnx.load(bundle.folder / "model.onnx")
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in types
    assert bundle.manifest.precision == "int8"
    derainer = Derainer(bundle)
    frame, _ = bundle.golden_frames()
    assert np.any(derainer.derain(frame))
    made = Calibration.read(bundle.folder / CALIBRATION_FILE)
    assert CALIBRATION_FILE in bundle.manifest.files
    said = bundle.manifest.verification["int8"]
    assert said["layers"]["int8"] == len(made.int8)
    assert said["frames"]["frames"] == 3


@pytest.mark.usefixtures("other_kernels")
def test_the_golden_picture_is_that_of_the_graph_as_it_is_written(export):
    bundle = export("qsnet", "onnxruntime")
    frame, golden = bundle.golden_frames()
    path = bundle.folder / "model.onnx"
    (wanted,) = verify.run_graph(path, [frame], as_written=True)
    assert np.array_equal(golden, wanted)


@pytest.mark.usefixtures("other_kernels")
def test_a_file_that_runs_unlike_what_was_measured_leaves_no_bundle(
    export, tmp_path, monkeypatch
):
    monkeypatch.setattr(verify, "INT8_MIN_PSNR_DB", 15)
    monkeypatch.setattr(pipeline, "expected_psnr_db", lambda *arguments: 60.0)
    with pytest.raises(
        VerificationError, match=r"60\.0 dB .* on ONNX Runtime 48\.1 dB"
    ):
        export("qsnet", "onnxruntime", tolerance=None)
    assert not (tmp_path / "bundle").exists()
