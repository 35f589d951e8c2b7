"""A PyTorch network -> an ONNX graph from picture to picture, in FP32."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from derain.core.errors import DerainError, ExportError, NetworkError
from derain.core.graph_memory import NO_MEMORY, GraphMemory
from derain.core.sizes import SizeRange
from derain.core.states import StateSpec
from derain.export.map_sizes import MapSizes
from derain.export.operators.translation import TRANSLATIONS
from derain.models.processor import on_processor
from derain.models.registry import NetworkFacts
from derain.models.torch_reference import PictureNetwork
from derain.models.video_network import VideoNetwork

INPUT, OUTPUT = "image", "derained_image"

_log = logging.getLogger(__name__)
_POINTERS = re.compile(r" ?For more information, run with TORCH_LOGS=\S+")
_DETAILS = 2
_NOISY = re.compile(r"(torch|onnxscript|onnx_ir)\b")


@dataclass(frozen=True, slots=True)
class CoreGraph:
    """A network as ONNX, from `(N, 3, H, W)` float32 in [0, 1] to the same.

    Attributes:
        model: The graph; ``derain`` nodes are still without a body. One with a window
            takes that many pictures, the newest last; one with states takes and returns
            them behind the picture.
        maps: How large its maps become.
        memory: What it remembers of one frame's kind.
        batch: N, 1 in ``model.onnx``.
    """

    model: ir.Model
    maps: MapSizes
    memory: GraphMemory = NO_MEMORY
    batch: int = 1


def to_onnx(
    network: nn.Module,
    facts: NetworkFacts,
    sizes: SizeRange,
    opset: int,
    batch: int = 1,
) -> CoreGraph:
    """Export `network` with PyTorch's exporter and our operator translations.

    Args:
        network: In eval mode, float32, on the processor; a `VideoNetwork` where it has
            a memory.
        facts: How to feed it.
        sizes: Frame sizes the graph must accept.
        opset: Version of the standard operators.
        batch: Pictures, and states of each, along the first axis.

    Raises:
        ExportError: PyTorch cannot trace the network, or an operator has no ONNX form.
        NetworkError: The network does not return a picture of its input's size.
    """
    memory = GraphMemory((), facts)
    module: nn.Module = PictureNetwork(network, facts)
    if isinstance(network, VideoNetwork):
        memory = network.memory(sizes)
        module = network
    module.eval()
    size = facts.padded(sizes.optimum)
    picture = (batch, 3, "height", "width")
    given: dict[str, tuple[int | str, ...]] = {INPUT: picture}
    outputs = [OUTPUT]
    if isinstance(network, VideoNetwork) and network.window > 1:
        given = {f"{INPUT}_{k}": picture for k in range(network.window)}
    else:
        given |= {s.input: (batch, *s.shape[1:]) for s in memory.states}
        outputs += [state.output for state in memory.states]
    shapes = [
        StateSpec(name="state_0", shape=shape, dtype="float32").shape_for(size, size)
        for shape in given.values()
    ]
    # torch.export takes a length of 1 for a constant, so the example avoids it.
    examples = tuple(torch.rand(*shape) for shape in shapes)
    sides, symbols = _free_sides(facts, sizes)
    free = tuple(_free_axes(shape, sides, facts) for shape in given.values())
    dynamic: Any = None
    if sides:
        varied = isinstance(network, VideoNetwork)
        dynamic = {"inputs": free} if varied else {"image": free[0]}
    with _quiet(), on_processor():
        try:
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=opset,
                input_names=list(given),
                output_names=outputs,
                custom_translation_table=TRANSLATIONS,
                dynamic_shapes=dynamic,
                verbose=False,
                optimize=False,  # derain.export.passes does that, and says what
            )
        except DerainError:
            raise
        except Exception as error:  # the exporter wraps whatever the network raised
            ours = _cause(error)
            if ours is not None:
                raise ours from error
            whom = network.network if isinstance(network, VideoNetwork) else network
            raise ExportError(_explain(whom, error, dynamic=bool(sides))) from error
    assert program is not None
    model = program.model
    assert program.exported_program is not None
    for symbol, limits in program.exported_program.range_constraints.items():
        if symbol.is_Symbol:
            symbols[str(symbol)] = int(limits.upper)
    _check_output(model)
    return CoreGraph(model, MapSizes(symbols), memory, batch)


def _free_sides(
    facts: NetworkFacts, sizes: SizeRange
) -> tuple[dict[str, Any], dict[str, int]]:
    """The sides that vary, in units of `multiple_of`, and the most that each can be."""
    unit = facts.multiple_of
    largest, smallest = facts.padded(sizes.maximum), facts.padded(sizes.minimum)
    sides: dict[str, Any] = {}
    most: dict[str, int] = {}
    for name in ("height", "width"):
        low, high = getattr(smallest, name) // unit, getattr(largest, name) // unit
        if low < high:
            most[name] = high
            sides[name] = Dim(name, min=low, max=high)
    return sides, most


def _free_axes(
    shape: Sequence[int | str], sides: Mapping[str, Any], facts: NetworkFacts
) -> dict[int, Any]:
    """What varies of an input of `shape`; lengths as in `derain.core.states`."""
    free: dict[int, Any] = {}
    for axis, length in enumerate(shape):
        side, _, part = str(length).partition("/")
        if side in sides:
            times, rest = divmod(facts.multiple_of, int(part or 1))
            if rest:
                raise ExportError(
                    f"a state of {length} needs frames of a multiple of {part}: give "
                    f"--multiple-of {part}, or one size with --size"
                )
            free[axis] = times * sides[side] if times > 1 else sides[side]
    return free


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
    _log.debug("%s", root)
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    reason = lines[0] if lines else type(root).__name__
    # PyTorch's first line says that something is wrong, those behind it what.
    reason = _POINTERS.sub("", reason)
    details = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    if details:
        reason = f"{reason.rstrip('.! ')}: {'; '.join(details[:_DETAILS])}"
    if "data-dependent" in reason:
        return (
            f"{type(network).__name__} cannot be exported: what it does depends on the "
            f"values in a picture (a Python if, .item()); use torch.where ({reason})"
        )
    advice = (
        "; a network that computes with its size as a Python number may still export "
        "at one size with --size"
        if dynamic
        else ""
    )
    return f"{type(network).__name__} cannot be exported: {reason}{advice}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's log about its own internals from who does not want details.

    What it fails at is raised as well, and told in one line.
    """
    if _log.isEnabledFor(logging.DEBUG):
        yield
        return
    # Those of its modules have levels of their own.
    known = [name for name in logging.root.manager.loggerDict if _NOISY.match(name)]
    levels = {name: logging.getLogger(name).level for name in ("torch", *known)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),  # it prints graphs that fail
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
