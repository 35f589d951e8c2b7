"""The graph around a network, as TensorRT must find it."""

import pytest


@pytest.mark.parametrize("sizes", ["64x48", "32x32,64x48,128x96"])
def test_nothing_but_a_cast_reads_the_frame(sizes):
    """TensorRT may refuse a uint8 input that something else reads, a Shape too."""
    ir = pytest.importorskip("onnx_ir", reason="the exporter needs derain[export]")
    pytest.importorskip("torch", reason="the exporter needs derain[export]")
    from derain.core.sizes import SizeRange
    from derain.export.frame_graph import wrap_frame
    from derain.export.to_onnx import CoreGraph
    from derain.models.registry import NetworkFacts

    shape = ir.Shape([1, 3, None, None])
    image = ir.Value(name="image", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Relu", [image])
    graph = ir.Graph([image], node.outputs, nodes=[node], opset_imports={"": 20})
    core = CoreGraph(ir.Model(graph, ir_version=10), {})
    wrap_frame(core, NetworkFacts(multiple_of=16), SizeRange.parse(sizes))
    (frame,) = graph.inputs
    assert [use.op_type for use in frame.consumers()] == ["Cast"]
