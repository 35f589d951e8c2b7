"""``config.pbtxt``: what Triton is told of a model; checked without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import np_to_triton_dtype

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import ExportError
from derain.core.states import StateSpec
from derain.export.triton_graph import START, Tensor
from derain.export.triton_options import TritonOptions
from derain.runtime.backends.triton import DERAINED, FRAME, HASH

WARM_UP = "golden-frame"  # file in the model's folder "warmup"
_Tensors = dict[str, Tensor]


def make_config(
    bundle: Bundle,
    name: str,
    inputs: _Tensors,
    outputs: _Tensors,
    options: TritonOptions,
) -> Any:
    """The model's configuration.

    Args:
        bundle: What it is made of.
        name: Of the model.
        inputs: Of the graph that Triton will load, by name.
        outputs: As `inputs`.
        options: How it is to be served.

    Returns:
        A ``ModelConfig`` of Triton's protocol.
    """
    states = bundle.manifest.states
    batches = _batches(inputs, outputs)
    config = pb.ModelConfig(
        name=name, max_batch_size=options.max_batch if batches else 0
    )
    if options.engine:
        config.platform = "tensorrt_plan"
    else:
        config.backend = "onnxruntime"
    config.parameters[HASH].string_value = bundle.manifest.files[MODEL_FILE]
    hidden = {START, *(s.input for s in states), *(s.output for s in states)}
    for found, place in ((inputs, config.input), (outputs, config.output)):
        for tensor in found.values():
            if tensor.name not in hidden:
                place.add(
                    name=tensor.name,
                    data_type=_kind(tensor),
                    dims=tensor.shape[1:] if batches else tensor.shape,
                )
    if batches:
        config.dynamic_batching.SetInParent()
    if states:
        _add_sequences(config, states, inputs, options)
    _add_warm_up(config, bundle, inputs, batches)
    return config


def _batches(inputs: _Tensors, outputs: _Tensors) -> bool:
    """Whether the frames of several cameras may go in at once."""
    return (
        len(inputs) == len(outputs) == 1
        and inputs[FRAME].shape[0] == outputs[DERAINED].shape[0] == -1
    )


def _kind(tensor: Tensor) -> int:
    return int(pb.DataType.Value(f"TYPE_{np_to_triton_dtype(np.dtype(tensor.dtype))}"))


def _add_sequences(
    config: Any,
    states: tuple[StateSpec, ...],
    inputs: _Tensors,
    options: TritonOptions,
) -> None:
    batching = config.sequence_batching
    batching.max_sequence_idle_microseconds = round(options.idle * 1e6)
    # One frame after the other, of whichever camera has waited longest. "Direct" would
    # keep a model without batches to one camera until that is gone.
    batching.oldest.max_candidate_sequences = options.sequences
    if START in inputs:
        control = batching.control_input.add(name=START).control.add()
        control.kind = pb.ModelSequenceBatching.Control.CONTROL_SEQUENCE_START
        control.int32_false_true.extend([0, 1])
    # Triton pairs what comes out with what goes in by place among the sorted names
    # (triton-inference-server/server#8586): ours sort alike.
    for state in states:
        tensor = inputs[state.input]
        entry = batching.state.add(
            input_name=state.input,
            output_name=state.output,
            data_type=_kind(tensor),
            dims=tensor.shape,
        )
        entry.initial_state.add(
            name=f"zeros of {state.name}",
            data_type=_kind(tensor),
            dims=tensor.shape,
            zero_data=True,
        )


def _add_warm_up(config: Any, bundle: Bundle, inputs: _Tensors, batches: bool) -> None:
    """Have Triton derain the golden frame before it says that the model is ready."""
    height, width = bundle.golden_frames()[0].shape[:2]
    # Triton skips a batch of 0 in silence, also where nothing is batched.
    warm_up = config.model_warmup.add(name="golden frame", batch_size=1)
    for tensor in inputs.values():
        given = warm_up.inputs[tensor.name]
        given.data_type = _kind(tensor)
        if tensor.name == FRAME:
            given.dims.extend([height, width, 3] if batches else [1, height, width, 3])
            given.input_data_file = WARM_UP
        else:
            given.dims.extend(tensor.shape)
            given.zero_data = True


def config_text(config: Any) -> str:
    """`config` as the file ``config.pbtxt``."""
    text: str = text_format.MessageToString(config)
    return text


def check_config(text: str, inputs: _Tensors, outputs: _Tensors) -> None:
    """Compare every tensor that a ``config.pbtxt`` names with the graph.

    Raises:
        ExportError: It is not of Triton's form, or one is missing, too many or another.
    """
    try:
        config = text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ExportError(f"config.pbtxt is not of Triton's form: {error}") from error
    batch = (-1,) if config.max_batch_size else ()
    sequences = config.sequence_batching
    named: dict[str, list[tuple[str, int, tuple[int, ...]]]] = {
        "input": [(t.name, t.data_type, (*batch, *t.dims)) for t in config.input],
        "output": [(t.name, t.data_type, (*batch, *t.dims)) for t in config.output],
    }
    for state in sequences.state:
        for side, name in (("input", state.input_name), ("output", state.output_name)):
            named[side].append((name, state.data_type, tuple(state.dims)))
    named["input"] += [
        (control.name, pb.TYPE_INT32, (1,)) for control in sequences.control_input
    ]
    for side, graph in (("input", inputs), ("output", outputs)):
        wanted = sorted((t.name, _kind(t), t.shape) for t in graph.values())
        if sorted(named[side]) != wanted:
            raise ExportError(
                f"config.pbtxt does not fit its graph: {side}s {sorted(named[side])}, "
                f"the graph has {wanted}"
            )
    for key in ("input_name", "output_name"):
        names = [getattr(state, key) for state in sequences.state]
        if names != sorted(names):
            raise ExportError(f"states {', '.join(names)} do not sort alike")
