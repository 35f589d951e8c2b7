"""A PyTorch network -> an ONNX graph from picture to picture, in FP32."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from derain.core.errors import DerainError, ExportError, NetworkError
from derain.core.sizes import SizeRange
from derain.export.map_sizes import MapSizes
from derain.export.operators.translation import TRANSLATIONS
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import PictureNetwork

INPUT, OUTPUT = "image", "derained_image"


@dataclass(frozen=True, slots=True)
class CoreGraph:
    """A network as ONNX, from `(1, 3, H, W)` float32 in [0, 1] to the same.

    Attributes:
        model: The graph; ``derain`` nodes are still without a body.
        maps: How large its maps become.
    """

    model: ir.Model
    maps: MapSizes


def to_onnx(
    network: nn.Module, facts: NetworkFacts, sizes: SizeRange, opset: int
) -> CoreGraph:
    """Export `network` with PyTorch's exporter and our operator translations.

    Args:
        network: In eval mode, float32, on the processor.
        facts: How to feed it.
        sizes: Frame sizes the graph must accept.
        opset: Version of the standard operators.

    Raises:
        ExportError: PyTorch cannot trace the network, or an operator has no ONNX form.
        NetworkError: The network does not return a picture of its input's size.
    """
    picture = PictureNetwork(network, facts).eval()
    size = facts.padded(sizes.optimum)
    largest = facts.padded(sizes.maximum)
    smallest = facts.padded(sizes.minimum)
    # torch.export takes a length of 1 for a constant, so the example avoids it.
    example = torch.rand(1, 3, size.height, size.width)
    unit = facts.multiple_of
    free: dict[int, object] = {}
    symbols: dict[str, int] = {}
    for axis, name in ((2, "height"), (3, "width")):
        low, high = getattr(smallest, name) // unit, getattr(largest, name) // unit
        if low < high:
            symbols[name] = high
            free[axis] = unit * Dim(name, min=low, max=high)
    with _quiet():
        try:
            program = torch.onnx.export(
                picture,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                custom_translation_table=TRANSLATIONS,
                dynamic_shapes={"image": free} if free else None,
                verbose=False,
                optimize=False,  # derain.export.passes does that, and says what
            )
        except DerainError:
            raise
        except Exception as error:  # the exporter wraps whatever the network raised
            ours = _cause(error)
            if ours is not None:
                raise ours from error
            raise ExportError(_explain(network, error, dynamic=bool(free))) from error
    assert program is not None
    model = program.model
    assert program.exported_program is not None
    for symbol, limits in program.exported_program.range_constraints.items():
        if symbol.is_Symbol:
            symbols[str(symbol)] = int(limits.upper)
    _check_output(model)
    return CoreGraph(model, MapSizes(symbols))


def _check_output(model: ir.Model) -> None:
    given, made = model.graph.inputs[0].shape, model.graph.outputs[0].shape
    if list(map(str, given or ())) != list(map(str, made or ())):
        raise NetworkError(
            f"the network returns {made}, wanted a picture of its input's size, {given}"
        )


def _cause(error: BaseException | None) -> DerainError | None:
    while error is not None:
        if isinstance(error, DerainError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain(network: nn.Module, error: Exception, *, dynamic: bool) -> str:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    reason = lines[0] if lines else type(root).__name__
    advice = (
        "; a network that computes with its size as a Python number may still export "
        "at one size with --size"
        if dynamic
        else ""
    )
    return f"{type(network).__name__} cannot be exported: {reason}{advice}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings about its own internals from our users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
