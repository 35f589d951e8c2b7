"""Models that would make a backend open files which nobody has hashed."""

import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from derain.core.bundle import MODEL_FILE, Bundle, sha256
from derain.core.errors import BundleError
from derain.core.external_data import has_external_data
from derain.core.manifest import FILE_NAME, Manifest

INSIDE = numpy_helper.from_array(np.ones((2, 2), np.float32), "x")


def outside(location="weights.bin"):
    tensor = TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[2, 2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def unsaid():
    """A tensor that names another file, and does not say that it is there."""
    tensor = outside()
    tensor.ClearField("data_location")
    return tensor


def graph(tensor=None, node=None):
    return helper.make_graph(
        [] if node is None else [node], "g", [], [], [] if tensor is None else [tensor]
    )


def constant(tensor):
    return helper.make_node("Constant", [], ["y"], value=tensor)


def model(where, tensor):
    if where == "initializer":
        return helper.make_model(graph(tensor))
    if where == "constant":
        return helper.make_model(graph(node=constant(tensor)))
    if where == "branch":
        inner = graph(node=constant(tensor))
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
        return helper.make_model(graph(node=node))
    if where == "sparse":
        made = helper.make_model(graph())
        made.graph.sparse_initializer.add(values=tensor, indices=INSIDE, dims=[4])
        return made
    if where == "tensors":
        node = helper.make_node("Odd", [], ["y"], domain="d", many=[INSIDE, tensor])
        return helper.make_model(graph(node=node))
    function = helper.make_function(
        "d", "f", [], ["y"], [constant(tensor)], [helper.make_opsetid("", 20)]
    )
    return helper.make_model(graph(), functions=[function])


WHERE = ("initializer", "constant", "branch", "sparse", "tensors", "function")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("tensor", [outside, unsaid])
def test_it_is_seen_wherever_a_tensor_may_be(tmp_path, where, tensor):
    path = tmp_path / MODEL_FILE
    path.write_bytes(model(where, tensor()).SerializeToString())
    assert has_external_data(path)
    path.write_bytes(model(where, INSIDE).SerializeToString())
    assert not has_external_data(path)


@pytest.mark.parametrize("content", [b"", b"onnx", b"\x3a\x7f", b"\xff" * 20, b"\x3a"])
def test_what_is_no_model_is_left_to_the_backend(tmp_path, content):
    (tmp_path / MODEL_FILE).write_bytes(content)
    assert not has_external_data(tmp_path / MODEL_FILE)


def test_groups_which_onnx_has_none_of(tmp_path):
    # Field 30 as a group: a parser skips it; what is in it is anybody's guess.
    (tmp_path / MODEL_FILE).write_bytes(b"\xf3\x01\xf4\x01")
    assert has_external_data(tmp_path / MODEL_FILE)


def test_a_bundle_with_a_file_that_no_manifest_lists_is_refused(bundles, tmp_path):
    folder = shutil.copytree(bundles("darken"), tmp_path / "b")
    made = onnx.load(folder / MODEL_FILE)
    made.graph.initializer.append(outside())
    (folder / "weights.bin").write_bytes(bytes(16))
    (folder / MODEL_FILE).write_bytes(made.SerializeToString())
    text = (folder / FILE_NAME).read_text()
    old = Manifest.read(folder).files[MODEL_FILE]
    (folder / FILE_NAME).write_text(text.replace(old, sha256(folder / MODEL_FILE)))
    with pytest.raises(BundleError, match=r"b: model\.onnx has tensors in other files"):
        Bundle.open(folder)
