"""The custom operators in ONNX: nodes of the ``derain`` domain and their bodies.

`translation` turns PyTorch operators into abstract nodes while a network is exported,
and `lowering` gives every such node a body of standard operators for one target, as a
model-local function. Any ONNX tool runs the function; a compiler that has a kernel for
the node may take that instead.

A node's name exists in no other domain: TensorRT's parser dispatches on the name alone,
so that ``derain::Relu`` would become the built-in Relu.
"""

DOMAIN = "derain"
VERSION = 1
