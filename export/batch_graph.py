"""``model-batch.onnx`` of ``--batch N``: made as ``model.onnx`` was, and proven by row.

It is exported once more, with N pictures side by side, and takes the passes and the
FP32 nodes that were chosen for one. What proves it are clips that begin
a call later in every row: so no row sees the frame of another one, and each must make
what PyTorch makes of its own. A row that has no frame to be proven with gets another
picture, which would show where it must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from derain.core.batch_file import BATCH_FILE, of_row
from derain.core.errors import ExportError, NetworkError
from derain.core.frame_limit import frame_limit
from derain.core.frame_tensors import Frame
from derain.core.graph_memory import GraphMemory
from derain.core.manifest import Target
from derain.export import verify
from derain.export.fp16 import Fp16Choice, nodes_of_types, to_fp16
from derain.export.frame_graph import INPUT, OUTPUT, wrap_frame
from derain.export.model_file import save_model
from derain.export.operators.lowering import lower_operators
from derain.export.options import ExportOptions
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.reference import Reference
from derain.export.to_onnx import CoreGraph, to_onnx
from derain.models.loading import LoadedNetwork

_STEP = 8  # pixels by which pictures that are only there to differ are moved


def require_batchable(loaded: LoadedNetwork, memory: GraphMemory) -> None:
    """Raise where rows have no axis to lie along.

    Raises:
        NetworkError: A state does not begin with the axis of the frames.
    """
    for state in memory.states:
        if state.shape[0] != 1:
            raise NetworkError(
                f"--batch: {state.name} of {loaded.name} is {state.shape}; wanted a "
                "first axis of 1, which is that of the frames"
            )


def make_batch(
    folder: Path,
    loaded: LoadedNetwork,
    options: ExportOptions,
    reference: Reference,
    row: Target,
    half: Fp16Choice,
) -> list[Frame]:
    """Write the graph of several rows, and run it on the reference's frames.

    Returns:
        What each row makes of all of them, one row behind the other.

    Raises:
        ExportError: As `write_batch`.
    """
    core = write_batch(folder, loaded, options, row, half)
    path = folder / BATCH_FILE
    return [*chain.from_iterable(run_rows(core, path, reference.frames))]


def write_batch(
    folder: Path,
    loaded: LoadedNetwork,
    options: ExportOptions,
    row: Target,
    half: Fp16Choice,
) -> CoreGraph:
    """Write the graph of ``options.batch`` rows into `folder`.

    Args:
        folder: Of the bundle.
        loaded: The network.
        options: Of the export.
        row: Of graph passes.
        half: What stays in FP32 where the others are FP16.

    Returns:
        The graph as it was written.

    Raises:
        ExportError: The network does not take so many pictures at a time.
    """
    assert options.batch is not None
    facts, sizes, network = loaded.facts, options.sizes, loaded.video or loaded.network
    try:
        core = to_onnx(network, facts, sizes, options.opset, options.batch)
        wrap_frame(core, facts, sizes)
    except (ExportError, NetworkError) as error:
        raise ExportError(f"--batch {options.batch}: {error}") from error
    model = core.model
    optimize(model, row)
    if options.has_halves:
        to_fp16(model, nodes_of_types(model, half.types))
    remove_dead(model)
    lower_operators(model, options.target, core.maps)
    save_model(model, loaded.name, options.precision, folder / BATCH_FILE)
    return core


def run_rows(core: CoreGraph, path: Path, frames: Sequence[Frame]) -> list[list[Frame]]:
    """What every row makes of `frames`, in the company of others.

    Args:
        core: The graph of several rows.
        path: Its file.
        frames: As for `verify.run_graph`.

    Returns:
        For each row, as many frames.

    Raises:
        ExportError: ONNX Runtime refuses the graph or fails to run it.
    """
    derained: list[list[Frame]] = [[] for _ in range(core.batch)]
    try:
        session = verify.open_session(path, as_written=False)
        for _, clip in groupby(frames, key=lambda frame: frame.shape):
            for row, frame in _staggered(session, list(clip), core):
                derained[row].append(frame)
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise verify.cannot_run(error) from error
    return derained


def _staggered(
    session: ort.InferenceSession, clip: list[Frame], core: CoreGraph
) -> Iterator[tuple[int, Frame]]:
    """Every row's frames of `clip`, which begins a call later in each."""
    halves = {e.name for e in session.get_inputs() if e.type == "tensor(float16)"}
    states, options = core.memory.states, ort.RunOptions()
    options.log_severity_level = 4  # a run that fails raises
    outputs = [
        of_row(name, row)
        for row in range(core.batch)
        for name in (OUTPUT, *(state.output for state in states))
    ]
    remembered: list[dict[str, Any]] = [{} for _ in range(core.batch)]
    for call in range(len(clip) + core.batch - 1):
        given: dict[str, Any] = {}
        for row, memory in enumerate(remembered):
            index = call - row
            within = 0 <= index < len(clip)
            frame = clip[index % len(clip)]
            if not within:
                frame = np.roll(frame[::-1], _STEP * (row + 1), axis=1)
            if index <= 0 or not within or not states:
                memory.update(core.memory.start(frame))
            given[of_row(INPUT, row)] = np.ascontiguousarray(frame)[np.newaxis]
            given |= {of_row(name, row): each for name, each in memory.items()}
        for name in halves:
            given[name] = given[name].astype(np.float16)
        with frame_limit(lambda: setattr(options, "terminate", True)):
            got = dict(zip(outputs, session.run(outputs, given, options), strict=True))
        for row, memory in enumerate(remembered):
            for state in states:
                memory[state.input] = got[of_row(state.output, row)]
            if 0 <= call - row < len(clip):
                yield row, got[of_row(OUTPUT, row)][0]
