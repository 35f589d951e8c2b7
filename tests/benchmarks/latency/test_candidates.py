"""The rows that are not ours, on a graph small enough to know the answer."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")
pytest.importorskip("onnx", reason="the exporter needs derain[export]")

import torch
from torch import nn

from derain.benchmarks.latency.candidates import CandidateSpec, open_candidate
from derain.benchmarks.latency.plain_export import export_plain
from derain.core.frame_tensors import to_frame, to_tensor
from derain.core.sizes import Size
from derain.models.loading import LoadedNetwork, open_network
from derain.models.registry import MODELS, NetworkFacts
from derain.models.torch_reference import derain_frame


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (21, 35, 3), dtype=np.uint8)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("multiple_of", [1, 16])
def test_pixels_come_back_as_they_went(picture, colour, multiple_of):
    facts = NetworkFacts(colour=colour, multiple_of=multiple_of)
    tensor = to_tensor(picture, facts)
    assert tensor.shape == ((1, 3, 32, 48) if multiple_of == 16 else (1, 3, 21, 35))
    np.testing.assert_array_equal(to_frame(tensor, Size(35, 21), facts), picture)


def test_values_beyond_the_range_are_clipped():
    wild = np.array([-1.0, 0.5, 2.0], np.float32).reshape(1, 3, 1, 1)
    facts = NetworkFacts(colour="bgr")
    assert to_frame(wild, Size(1, 1), facts).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize("entry", ["eager", "eager-channels-last"])
def test_eager_is_the_exporters_reference(picture, entry):
    spec = CandidateSpec(
        key=entry,
        candidate=entry,
        model="treefusion",
        size=Size(35, 21),
        threads=torch.get_num_threads(),
        random_weights=True,
    )
    candidate = open_candidate(spec)
    network = open_network("treefusion", random_weights=True).network
    wanted = derain_frame(network, MODELS["treefusion"].facts, picture)
    difference = np.abs(candidate.infer(picture).astype(int) - wanted)
    # Two layouts of a tensor are added up in another order.
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-3
    assert set(candidate.split_ms) >= {"pre", "compute", "post"}
    assert all(ms >= 0 for ms in candidate.split_ms.values())


class Attention(nn.Module):
    """The operators of this project, which plain PyTorch does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        from derain.models.operators import region_non_local, unpool_by_indices

        features = torch.relu(self.first(x))
        pooled, indices = torch.nn.functional.max_pool2d(
            features, 2, return_indices=True
        )
        y = region_non_local(pooled, pooled, pooled, 2)
        up = unpool_by_indices(y, indices, features.shape[2], features.shape[3])
        return x - self.last(up)


def test_a_plain_export_has_no_operator_of_ours_and_the_same_result(tmp_path):
    import onnx
    import onnxruntime as ort

    torch.manual_seed(0)
    network = Attention().eval()
    loaded = LoadedNetwork(
        name="attention", network=network, facts=NetworkFacts(), paper="", weights={}
    )
    path = tmp_path / "plain.onnx"
    export_plain(loaded, Size(16, 24), path)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = torch.rand(1, 3, 24, 16)
    (got,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, network(image).numpy(), atol=1e-5)
