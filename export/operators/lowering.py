"""Give every abstract ``derain`` node its body, chosen for a target."""

from __future__ import annotations

import re
from collections.abc import Callable

import onnx_ir as ir

from derain.core.errors import ExportError
from derain.core.manifest import Target
from derain.core.sizes import Size
from derain.export.map_sizes import MapSizes
from derain.export.operators import DOMAIN, VERSION, unpool
from derain.export.operators.region_non_local import region_non_local, tile_count
from derain.export.operators.shuffle_unit import shuffle_unit


def lower_operators(
    model: ir.Model,
    target: Target,
    sizes: MapSizes,
    rounded: Callable[[str], bool] = lambda name: False,
) -> dict[str, str]:
    """Replace abstract nodes by calls of model-local functions, in place.

    Args:
        model: The graph; its ``derain`` nodes are those of `translation`.
        target: What the bodies are chosen for.
        sizes: What the symbolic lengths of the graph can grow to.
        rounded: Whether the node of a name rounds inside as in FP16; for
            `derain.export.fp16.emulate_fp16`.

    Returns:
        For the manifest: each function's name and what it is made of.

    Raises:
        ExportError: A node cannot be lowered.
    """
    chosen: dict[str, str] = {}
    units = 0
    for node in list(model.graph):
        if node.domain != DOMAIN:
            continue
        if node.op_type == "RegionNonLocal":
            function = _lower_region_non_local(
                node, model, target, sizes, rounded=rounded(node.name or "")
            )
            fused = "MultiHeadAttention" if target == "onnxruntime" else "MatMul"
            _call(model, node, function, list(node.inputs))
            chosen[function.name] = f"version {VERSION}, {fused}"
        elif node.op_type == "ShuffleUnit":
            function = shuffle_unit(
                units, rounded=rounded(node.name or ""), opset=_opset(model)
            )
            _call(model, node, function, list(node.inputs))
            chosen[function.name] = f"version {VERSION}, convolutions"
            units += 1
        elif node.op_type == "MaxPoolWithIndices":
            chosen |= _lower_pool(node, model, target)
    for node in list(model.graph):  # unpools whose indices were computed with
        if node.domain == DOMAIN and node.op_type == "UnpoolByIndices":
            function = unpool.unpool_by_indices(opset=_opset(model))
            _call(model, node, function, list(node.inputs))
            chosen[function.name] = f"version {VERSION}, ScatterElements"
    model.graph.opset_imports[DOMAIN] = VERSION
    for function in model.functions.values():
        model.graph.opset_imports.update(function.opset_imports)
    if not model.functions:
        del model.graph.opset_imports[DOMAIN]
    return chosen


def _lower_region_non_local(
    node: ir.Node, model: ir.Model, target: Target, sizes: MapSizes, *, rounded: bool
) -> ir.Function:
    theta, phi = node.inputs[0], node.inputs[1]
    assert theta is not None
    assert phi is not None
    assert theta.shape is not None
    assert theta.dtype is not None
    regions = node.attributes["regions"].as_int()
    per_region = regions * regions
    queries = sizes.largest_area(theta) // per_region
    keys = sizes.largest_area(phi) // per_region
    channels = theta.shape[1]
    size, key_size = _size(theta), _size(phi)
    if theta.shape[0] != 1:
        raise ExportError(
            "attention within regions (RegionNonLocal) is written for one frame a "
            "call; export without --batch"
        )
    if not isinstance(channels, int):
        raise ExportError(f"{node.name}: RegionNonLocal needs a fixed channel count")
    return region_non_local(
        regions,
        channels,
        tile_count(per_region, queries, keys, int(theta.dtype.itemsize)),
        sizes=(size, key_size) if size and key_size else None,
        rounded=rounded,
        target=target,
        opset=_opset(model),
    )


def _lower_pool(pool: ir.Node, model: ir.Model, target: Target) -> dict[str, str]:
    """Lower a pool together with the unpools that use its indices as they are."""
    opset = _opset(model)
    pooled = pool.inputs[0]
    values, indices = pool.outputs
    assert pooled is not None
    paired = [
        use.node
        for use in indices.uses()
        if use.idx == 1
        and use.node.domain == DOMAIN
        and use.node.op_type == "UnpoolByIndices"
        and _same_plane(use.node.outputs[0], pooled)
    ]
    all_paired = len(paired) == len(indices.uses()) and not indices.is_graph_output()
    if target == "onnxruntime" and all_paired and paired:
        _call(model, pool, unpool.flat_max_pool(opset=opset), [pooled])
        function = unpool.flat_max_unpool(opset=opset)
        for node in paired:
            _call(model, node, function, [*node.inputs[:2], pooled])
        return {function.name: f"version {VERSION}, MaxUnpool"}

    chosen: dict[str, str] = {}
    if paired:
        function = unpool.unpool_by_pool_input(even=_is_even(pooled), opset=opset)
        chosen[function.name] = f"version {VERSION}, comparisons"
        for node in paired:
            _call(model, node, function, [node.inputs[0], pooled])
    if all_paired:  # nobody needs the indices any more
        window = {"kernel_shape": [2, 2], "strides": [2, 2]}
        _replace(
            pool,
            ir.Node(
                "",
                "MaxPool",
                [pooled],
                ir.convenience.convert_attributes(window),
                name=pool.name,
            ),
            values,
        )
    else:
        function = unpool.max_pool_with_indices(opset=opset)
        _call(model, pool, function, [pooled])
        chosen[function.name] = f"version {VERSION}, comparisons"
    return chosen


def _call(
    model: ir.Model,
    node: ir.Node,
    function: ir.Function,
    inputs: list[ir.Value | None],
) -> None:
    """Make `node` a call of `function`, which the model then holds."""
    model.functions.setdefault(function.identifier(), function)
    new = ir.Node(
        DOMAIN, function.name, inputs, num_outputs=len(node.outputs), name=node.name
    )
    _replace(node, new, *node.outputs)


def _replace(node: ir.Node, new: ir.Node, *outputs: ir.Value) -> None:
    graph = node.graph
    assert graph is not None
    kept = list(outputs)
    for old, value in zip(kept, new.outputs, strict=True):
        value.name, value.shape, value.type = old.name, old.shape, old.type
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [new], kept, list(new.outputs)
    )


def _opset(model: ir.Model) -> int:
    return model.graph.opset_imports[""]


def _same_plane(a: ir.Value, b: ir.Value) -> bool:
    """Whether two maps are surely of one height and width."""
    if a.shape is None or b.shape is None:
        return False
    return list(map(str, a.shape[2:])) == list(map(str, b.shape[2:]))


def _size(x: ir.Value) -> Size | None:
    """Size of the map `x`, or None where it is known only when the graph runs."""
    assert x.shape is not None
    height, width = x.shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return Size(width, height)
    return None


def _is_even(x: ir.Value) -> bool:
    """Whether the height and width of a map are surely even."""
    assert x.shape is not None
    return all(
        n % 2 == 0
        if isinstance(n, int)
        else bool(re.fullmatch(r"\d*[02468]\*\w+", str(n)))
        for n in x.shape[2:]
    )
