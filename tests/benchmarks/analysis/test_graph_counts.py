"""GraphCost against those made by hand from the papers' structure, per network."""

import pytest

pytest.importorskip("torch", reason="the exporter needs derain[export]")
pytest.importorskip("onnx", reason="the exporter needs derain[export]")

import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper
from torch import nn

from derain.benchmarks.analysis.graph_counts import count_graph
from derain.benchmarks.latency.plain_export import export_plain
from derain.core.errors import BenchmarkError
from derain.core.sizes import Size, SizeRange
from derain.export.operators.lowering import lower_operators
from derain.export.to_onnx import to_onnx
from derain.models.loading import LoadedNetwork, open_network
from derain.models.networks.dcsfn import DCSFN
from derain.models.registry import NetworkFacts

# kMAC/px of convolutions and of attention, and parameters, at 256x256.
BY_HAND = {
    "qsnet": (46.144, 0.0, 48_530),
    "treefusion": (90.08, 0.0, 35_427),
    "stagewise": (167.4, 0.0, 17_356),
    "granet": (172.8, 2.688, 263_491),
    "nledn": (337.3, 26.88, 1_005_379),
}


@pytest.fixture
def count_plain(tmp_path):
    def run(loaded, size):
        export_plain(loaded, Size.parse(size), tmp_path / "plain.onnx")
        return count_graph(tmp_path / "plain.onnx")

    return run


@pytest.fixture
def count_with_functions(tmp_path):
    def run(loaded, size):
        core = to_onnx(loaded.network, loaded.facts, SizeRange.parse(size), 20)
        lower_operators(core.model, "any", core.maps)
        assert core.model.functions
        ir.save(core.model, tmp_path / "core.onnx")
        return count_graph(tmp_path / "core.onnx")

    return run


def kmacs_per_px(counts, op_type):
    macs = sum(node.macs for node in counts.nodes if node.op_type == op_type)
    return macs / counts.pixels / 1000


@pytest.mark.parametrize("model", ["qsnet", "treefusion", "stagewise"])
def test_a_network_costs_what_was_counted_by_hand(count_plain, model):
    convolutions, attention, parameters = BY_HAND[model]
    loaded = open_network(model, random_weights=True)
    counts = count_plain(loaded, "256x256")
    assert counts.pixels == 256 * 256
    assert kmacs_per_px(counts, "Conv") == pytest.approx(convolutions, abs=0.05)
    assert kmacs_per_px(counts, "MatMul") == attention
    # A BatchNorm's scale and shift become the convolution's bias: half as many.
    folded = sum(
        m.num_features
        for m in loaded.network.modules()
        if isinstance(m, nn.BatchNorm2d)
    )
    assert counts.parameters == parameters - folded


@pytest.mark.parametrize("model", ["granet", "nledn"])
def test_what_is_in_functions_is_counted(count_with_functions, model):
    convolutions, attention, parameters = BY_HAND[model]
    loaded = open_network(model, random_weights=True)
    counts = count_with_functions(loaded, "256x256")
    assert kmacs_per_px(counts, "Conv") == pytest.approx(convolutions, abs=0.05)
    assert kmacs_per_px(counts, "MatMul") == pytest.approx(attention, abs=0.005)
    # The graph has a scalar or so of its own.
    assert counts.parameters == pytest.approx(parameters, abs=8)


def test_sizes_worked_out_in_the_graph_are_known(tmp_path):
    """A pixel shuffle, and a memory: its states are no parameters."""
    model = "derain.models.networks.rivulet:RivuletS"
    loaded = open_network(model, random_weights=True)
    core = to_onnx(loaded.video, loaded.facts, SizeRange.parse("64x48"), 20)
    ir.save(core.model, tmp_path / "core.onnx")
    counts = count_graph(tmp_path / "core.onnx")
    assert counts.macs / counts.pixels == pytest.approx(12_384, abs=1)
    assert counts.parameters == pytest.approx(49_712, abs=8)


def test_dcsfn_costs_what_its_layers_do(count_plain):
    """With one of its units: the whole takes minutes to export."""
    network = DCSFN(units=1, block_scales=(1, 2)).eval()
    macs = 0

    def add(module, _, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 64))
    by_hand = macs
    loaded = LoadedNetwork(
        name="dcsfn", network=network, facts=NetworkFacts(), paper="", weights={}
    )
    assert count_plain(loaded, "64x64").macs == by_hand > 0


@pytest.fixture
def make_graph(tmp_path):
    def make(nodes, result, weights=(), height=4):
        frame = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, height, 5])
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, result)
        graph = helper.make_graph(
            nodes,
            "g",
            [frame],
            [output],
            [
                helper.make_tensor(
                    name,
                    TensorProto.FLOAT,
                    shape,
                    [0.5] * int(torch.Size(shape).numel()),
                )
                for name, shape in weights
            ],
        )
        path = tmp_path / "graph.onnx"
        opset = [helper.make_opsetid("", 20)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
        return path

    return make


def test_a_grouped_convolution_counts_its_group(make_graph):
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=3, kernel_shape=[1, 1])
    counts = count_graph(make_graph([conv], [1, 6, 4, 5], [("w", [6, 1, 1, 1])]))
    assert counts.macs == 6 * 4 * 5
    assert counts.parameters == 6
    assert counts.moved_bytes == 4 * (3 * 20 + 6 + 6 * 20)
    assert counts.least_bytes == 4 * (3 * 20 + 6 + 6 * 20)


def test_an_elementwise_operator_reads_its_other_operand_alone(make_graph):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Identity", ["b"], ["y"]),
    ]
    counts = count_graph(make_graph(nodes, [1, 3, 4, 5]))
    assert [node.moved_bytes for node in counts.nodes] == [0, 4 * 60, 0]


def test_a_graph_for_a_range_of_sizes_is_refused(make_graph):
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1])
    with pytest.raises(BenchmarkError, match="count a graph of one size"):
        count_graph(make_graph([pool], [1, 3, "h", 5], height="h"))
