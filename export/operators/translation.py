"""PyTorch operators -> abstract ``derain`` nodes, during ``torch.onnx.export``.

Besides the operators of `derain.models.operators` this takes the plain ones, so that
``F.max_pool2d(..., return_indices=True)`` with ``F.max_unpool2d`` or ``nn.MaxUnpool2d``
in somebody's network needs no change to that network.

A plain onnxscript function would be inlined into the graph; a call through an `Op` with
an ONNX schema stays one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import torch
from onnxscript import opset18
from onnxscript.values import Op, Opset

import derain.models.operators  # noqa: F401  registers torch.ops.derain
from derain.core.errors import ExportError
from derain.export.operators import DOMAIN, VERSION

_OPSET = Opset(DOMAIN, VERSION)
_TYPES = [
    ("T", ["tensor(float)", "tensor(float16)"], "pictures and features"),
    ("I", ["tensor(int64)"], "positions and sizes"),
]


def _operator(
    name: str, inputs: str, outputs: str, attributes: Sequence[str] = ()
) -> Op:
    """An operator; `inputs` and `outputs` are like ``"x:T indices:I"``."""
    schema = onnx.defs.OpSchema
    parameter, attribute = schema.FormalParameter, schema.Attribute

    def parse(text: str) -> list[Any]:
        return [parameter(*item.split(":")) for item in text.split()]

    return Op(
        _OPSET,
        name,
        schema(
            name,
            DOMAIN,
            VERSION,
            inputs=parse(inputs),
            outputs=parse(outputs),
            type_constraints=_TYPES,
            attributes=[attribute(a, schema.AttrType.INT) for a in attributes],
        ),
    )


_region_non_local = _operator("RegionNonLocal", "theta:T phi:T g:T", "y:T", ["regions"])
_max_pool_with_indices = _operator("MaxPoolWithIndices", "x:T", "values:T indices:I")
_unpool_by_indices = _operator(
    "UnpoolByIndices", "x:T indices:I height:I width:I", "y:T"
)


def _translate_region_non_local(theta: Any, phi: Any, g: Any, regions: int) -> Any:
    return _region_non_local(theta, phi, g, regions=regions)


def _translate_unpool(x: Any, indices: Any, height: Any, width: Any) -> Any:
    return _unpool_by_indices(x, indices, height, width)


def _translate_max_unpool2d(x: Any, indices: Any, output_size: Sequence[Any]) -> Any:
    return _unpool_by_indices(x, indices, *output_size)


def _translate_max_pool2d_with_indices(
    x: Any,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    plain = (
        set(kernel_size) == {2}
        and set(stride or kernel_size) == {2}
        and set(padding) == {0}
        and set(dilation) == {1}
        and not ceil_mode
    )
    if not plain:
        raise ExportError(
            f"max_pool2d with indices: got kernel {tuple(kernel_size)}, stride "
            f"{tuple(stride or kernel_size)}, padding {tuple(padding)}, dilation "
            f"{tuple(dilation)}, ceil_mode {ceil_mode}; wanted 2x2 with stride 2 and "
            "nothing else, the one form that exports without index tensors"
        )
    return _max_pool_with_indices(x)


def _translate_conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    groups: int = 1,
) -> Any:
    # onnxscript's own makes a missing bias of the wrong rank (onnxscript #2931).
    return opset18.Conv(
        x,
        weight,
        *([] if bias is None else [bias]),
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
    )


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.derain.region_non_local.default: _translate_region_non_local,
    torch.ops.derain.unpool_by_indices.default: _translate_unpool,
    torch.ops.aten.conv3d.default: _translate_conv3d,
    torch.ops.aten.max_unpool2d.default: _translate_max_unpool2d,
    torch.ops.aten.max_pool2d_with_indices.default: _translate_max_pool2d_with_indices,
}
