"""Which row of passes moves fewer bytes on TensorRT: its own, or that of every target.

The graph of both is compiled for FP16 with TensorRT-RTX, which needs no GPU, and the
bytes that the kernels of the two engines read and write for a frame decide. Where it is
not installed, and for graphs that take minutes to compile, what was measured before
decides: `MEASURED`, which ``python -m derain.export.pass_choice MODEL...`` prints.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir

from derain.core.errors import EngineError
from derain.core.graph_memory import GraphMemory
from derain.core.manifest import Target
from derain.core.scratch import ScratchFolder
from derain.core.sizes import Size, SizeRange
from derain.export.fp16 import positions, to_fp16
from derain.export.frame_graph import wrap_frame
from derain.export.operators.lowering import lower_operators
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import open_network
from derain.runtime.tensorrt.engine_bytes import measure_engine_bytes
from derain.runtime.tensorrt.engine_states import StateRange
from derain.runtime.tensorrt.int8_bytes import Int8Bytes, compared, known_bytes
from derain.runtime.tensorrt.library import installed

_log = logging.getLogger(__name__)

PassRow = Literal["any", "tensorrt"]
ROWS: tuple[PassRow, ...] = ("tensorrt", "any")  # of equal ones the first is taken

# MB a frame of 1280x720 in FP16, TensorRT-RTX 1.7.1.
MEASURED: dict[str, dict[PassRow, int]] = {
    "treefusion": {"tensorrt": 3790, "any": 6798},
    "stagewise": {"tensorrt": 12654, "any": 21805},
    "granet": {"tensorrt": 4735, "any": 8513},
    "qsnet": {"tensorrt": 5087, "any": 5909},
    "nledn": {"tensorrt": 8077, "any": 10283},
    "dcsfn": {"tensorrt": 6824, "any": 6979},  # at 320x192
}
# DCSFN's 2,059 convolutions take four minutes to compile, once.
MOST_NODES = 2000


@dataclass(frozen=True, slots=True)
class PassChoice:
    """Which row of `derain.export.passes` to run.

    Attributes:
        row: The target whose row it is.
        moved_bytes: What the engine of each row moved for a frame, if that was
            measured.
    """

    row: Target
    moved_bytes: dict[PassRow, int] = field(default_factory=dict)


def choose_passes(
    core: CoreGraph, target: Target, model: str, size: Size
) -> PassChoice:
    """The passes that pay on `target`; for TensorRT those that move fewer bytes.

    Args:
        core: A graph from frame to frame that no pass has changed yet; stays as it is.
        target: What it will run on.
        model: Name of its network, for `MEASURED`.
        size: Of the frames to measure with.
    """
    if target != "tensorrt":
        return PassChoice(target)
    moved: dict[PassRow, int] = {}
    if "tensorrt-rtx" not in installed():
        _log.debug("TensorRT-RTX is not installed: passes chosen by earlier figures")
    elif len(core.model.graph) > MOST_NODES:
        _log.debug("large graph: passes chosen by earlier figures")
    else:
        try:
            moved = measure_rows(core, size)
        except EngineError as error:
            _log.warning("bytes of the engine not measured: %s", error)
    known = moved or MEASURED.get(model, {})
    row: PassRow = min(ROWS, key=lambda row: known.get(row, 0))
    return PassChoice(row, moved)


def measure_rows(core: CoreGraph, size: Size) -> dict[PassRow, int]:
    """Bytes that the FP16 engine of each row moves for a frame of `size`.

    Raises:
        EngineError: TensorRT-RTX cannot compile it.
    """
    moved: dict[PassRow, int] = {}
    states = states_of(core.memory, size, half=True)
    for row in ROWS:
        model = core.model.clone()
        optimize(model, row)
        to_fp16(model, positions(model))
        remove_dead(model)
        lower_operators(model, "tensorrt", core.maps)
        with ScratchFolder(prefix="derain-bytes-") as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(ir.to_proto(model), path)
            engine = measure_engine_bytes(path, "fp16", size, "tensorrt-rtx", states)
        moved[row] = engine.moved_bytes
    return moved


def measure_int8(
    path: Path, core: CoreGraph, choice: PassChoice, model: str, size: Size
) -> Int8Bytes | None:
    """What an INT8 graph moves beside FP16, or what is known of its network, or None.

    Args:
        path: The file, of a graph for TensorRT.
        core: Says what it remembers.
        choice: With what FP16 moves, if that was measured.
        model: Name of its network.
        size: Of the frames to measure with.
    """
    known = known_bytes(model, size)
    if not choice.moved_bytes:
        return known
    states = states_of(core.memory, size, half=True)
    try:
        engine = measure_engine_bytes(path, "int8", size, "tensorrt-rtx", states)
    except EngineError as error:
        _log.warning("bytes of the INT8 engine not measured: %s", error)
        return known
    fp16 = min(choice.moved_bytes.values())
    return compared(engine.moved_bytes, fp16, size, engine.version)


def states_of(memory: GraphMemory, size: Size, *, half: bool) -> tuple[StateRange, ...]:
    """The states of a graph for frames of `size`.

    Args:
        memory: What it remembers.
        size: Of the frames.
        half: The graph is in FP16 or INT8, and its states in FP16.
    """
    padded = memory.contract.padded(size)
    return tuple(
        StateRange(
            name=state.name,
            dtype="float16" if half and state.dtype != "uint8" else state.dtype,
            shapes=(state.shape_for(size, padded),) * 3,
        )
        for state in memory.states
    )


def main() -> None:
    """Print the rows of `MEASURED` for the models that are named."""
    sizes = SizeRange.static(Size(1280, 720))
    for name in sys.argv[1:]:
        loaded = open_network(name, weights=None, random_weights=True, facts=None)
        core = to_onnx(loaded.video or loaded.network, loaded.facts, sizes, 20)
        wrap_frame(core, loaded.facts, sizes)
        moved = measure_rows(core, sizes.optimum)
        row = {name: round(count / 1e6) for name, count in moved.items()}
        sys.stdout.write(f'    "{name}": {row},\n')
        sys.stdout.flush()


if __name__ == "__main__":
    main()
