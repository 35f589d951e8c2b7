"""From a network to a proven bundle: the road every export takes.

open the network -> frames for INT8 -> what PyTorch makes of frames -> PyTorch's
exporter -> frame contract -> passes -> precision -> operator bodies -> model.onnx ->
comparison with PyTorch -> manifest -> rename
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.calibration.apply import apply_calibration
from derain.calibration.calibration_file import Calibration
from derain.calibration.data import CalibrationData
from derain.calibration.qdq import part_biases
from derain.calibration.report import summary
from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import ExportError, VerificationError
from derain.core.frame_tensors import Frame
from derain.core.graph_memory import NO_MEMORY
from derain.core.progress import Stages
from derain.export import verify
from derain.export.batch_graph import make_batch, require_batchable
from derain.export.bundle_writer import check_target, new_bundle
from derain.export.drift import Drift, measure_drift, require_bounded
from derain.export.fp16 import Fp16Choice, search_fp16, to_fp16
from derain.export.frame_graph import wrap_frame
from derain.export.frames import LEAST_CLIP, clips_of_sizes, frames_of_sizes
from derain.export.golden import golden_clip, write_golden
from derain.export.int8 import (
    expected_psnr_db,
    int8_request,
    plan_int8,
    read_int8,
    run_as_measured,
)
from derain.export.kept_graphs import KeptGraphs
from derain.export.keywords import export_options
from derain.export.manifest_writer import manifest_of
from derain.export.model_file import ask_parser, save_model
from derain.export.operators.lowering import lower_operators
from derain.export.options import ExportOptions
from derain.export.pass_choice import choose_passes, measure_int8
from derain.export.passes import optimize
from derain.export.passes.cleanup import remove_dead
from derain.export.passes.int8_groups import make_int8_groups_dense
from derain.export.reference import Reference, derain_reference
from derain.export.to_onnx import to_onnx
from derain.export.trial import try_network
from derain.models.loading import LoadedNetwork, open_network

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from derain.export.keywords import ExportKeywords

_log = logging.getLogger(__name__)

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What an export made.

    Attributes:
        bundle: The bundle.
        model_bytes: Size of ``model.onnx``.
        nodes: Nodes of the graph, function calls counted as one.
        seconds: How long each stage took.
    """

    bundle: Bundle
    model_bytes: int
    nodes: int
    seconds: dict[str, float]


def export(model: str | nn.Module, **options: Unpack[ExportKeywords]) -> Bundle:
    """Export a deraining network to ONNX and prove that nothing was lost.

    Args:
        model: A name in ``derain.models()``, ``package.module:Class``, or a network,
            which is copied: any `nn.Module` from `(N, 3, H, W)` float in [0, 1] to the
            same, and what `derain.models.video_network` says of networks with a memory.
        **options: See `ExportOptions` and, for INT8, `CalibrationOptions`, whose
            ``frames`` is called ``calibration_frames`` here. ``size`` is ``"1280x720"``
            or ``(1280, 720)``, or ``"any"``; ``calibrate_on`` and ``frames`` are what
            `derain.runtime.video.open_source` takes, or `(H, W, 3)` uint8 BGR arrays.

    Returns:
        The bundle: a folder with ``model.onnx`` (uint8 BGR frame in, derained frame
        out), a manifest and a golden frame; a golden clip, and states in and out, where
        the network has a memory (see `derain.models.video_network`).

    Raises:
        UnknownNameError: There is no network of that name.
        ConfigError: Options exclude each other, or one is out of its range.
        CheckpointError: The weights cannot be read, or are of another network.
        NetworkError: The network cannot be built, or returns something else than a
            picture of its input's size.
        CalibrationError: It cannot, or must not, become INT8.
        VerificationError: The graph is too far from what PyTorch computes.
        ExportError: Anything else. An existing bundle is then as it was.

    Example:
        >>> import derain
        >>> bundle = derain.export("qsnet", size="1280x720", precision="fp16")
        >>> bundle.manifest.precision, str(bundle.manifest.sizes)
        ('fp16', '1280x720')
    """
    return export_bundle(model, export_options(options)).bundle


def export_bundle(model: str | nn.Module, options: ExportOptions) -> ExportResult:
    """As `export`, which see; also says how long it took."""
    own = not isinstance(model, str) or ":" in model
    options.check(own=own)
    name = model if isinstance(model, str) else type(model).__name__.lower()
    folder = options.folder(name)
    check_target(folder, force=options.force)
    request = None
    if options.precision == "int8":
        request = int8_request(options.calibrate_on, options.calibration, options.int8)
    graphs = KeptGraphs(options.keep_graphs, force=options.force)
    stages = Stages()
    with stages.stage("opening the network"):
        loaded = open_network(
            model,
            weights=options.weights,
            random_weights=options.random_weights,
            facts=options.facts() if own else None,
            window=options.window or 1,
            look_ahead=options.look_ahead or 0,
            arguments=dict(options.args),
            inputs=dict(options.inputs),
        )
    if own:
        with stages.stage("trying it on a small frame"):
            loaded = try_network(loaded, options.sizes, options.output_index)
    size, memory = options.sizes.optimum, NO_MEMORY
    if loaded.video is not None:
        memory = loaded.video.memory(options.sizes)
    if options.batch is not None:
        require_batchable(loaded, memory)
    with read_int8(request, size, memory, force=options.force) as data:
        return _export(folder, loaded, options, data, graphs, stages)


def _export(
    folder: Path,
    loaded: LoadedNetwork,
    options: ExportOptions,
    data: CalibrationData | Calibration | None,
    graphs: KeptGraphs,
    stages: Stages,
) -> ExportResult:
    """Everything behind the opened network and what INT8 is calibrated on."""
    facts, sizes, precision = loaded.facts, options.sizes, options.precision
    with stages.stage("deraining with PyTorch"):
        if loaded.video is None:
            frames = frames_of_sizes(sizes, options.frames)
        else:
            count = max(LEAST_CLIP, loaded.video.window)
            frames = clips_of_sizes(sizes, options.frames, count)
        reference = derain_reference(loaded, frames, facts.pad_mode(sizes))
    with stages.stage("exporting with PyTorch"):
        network = loaded.video or loaded.network
        core = to_onnx(network, facts, sizes, options.opset)
        graphs.keep("pytorch", core.model)
    with stages.stage("optimising the graph"):
        wrap_frame(core, facts, sizes)
        graphs.keep("frame", core.model)
        choice = choose_passes(core, options.target, loaded.name, sizes.optimum)
        asked = {"fuse_shuffle_units"} if options.fused_units else set()
        passes = optimize(core.model, choice.row, graphs.keep, asked)
        if asked and not passes["fuse_shuffle_units"]:
            raise ExportError(
                f"--fused-units: {loaded.name} has no ShuffleNet unit of the widths of "
                "the kernel, which are those of qsnet; export it without"
            )
    half = Fp16Choice()
    if options.has_halves:
        verify.require_fits_fp16(reference.largest_state)
        with stages.stage("measuring FP16"):
            half = search_fp16(core, reference.frames, reference.wanted)
        assert half.comparison is not None
        least = options.tolerance if precision == "fp16" else None
        verify.require_fp16(half.comparison, least)
    calibration: Calibration | None = None
    if data is not None:
        with stages.stage("calibrating INT8"):
            calibration = plan_int8(core, data)
    drift: Drift | None = None
    if loaded.video is not None and loaded.video.window == 1:
        with stages.stage("measuring the drift"):
            drift = measure_drift(
                core,
                loaded.video,
                sizes,
                opset=options.opset,
                row=choice.row,
                half=half.keep_fp32 if options.has_halves else None,
                calibration=calibration,
            )
    measured: list[Frame] = []
    if calibration is not None:
        apply_calibration(calibration, core.model)
        graphs.keep("int8", core.model)
        measured = run_as_measured(core, reference.frames)
        if options.target == "tensorrt":
            passes["make_int8_groups_dense"] = make_int8_groups_dense(core.model)
    if options.has_halves:
        to_fp16(core.model, half.keep_fp32)
        part_biases(core.model)
        graphs.keep("fp16", core.model)
    remove_dead(core.model)
    operators = lower_operators(core.model, options.target, core.maps)
    graphs.keep("operators", core.model)
    with new_bundle(folder, force=options.force) as aside:
        path = aside / MODEL_FILE
        with stages.stage("writing and checking model.onnx"):
            save_model(core.model, loaded.name, precision, path)
        verification: dict[str, dict[str, Any]] = {}
        if options.target == "tensorrt":
            with stages.stage("asking TensorRT's parser"):
                parser = ask_parser(path)
            if parser and choice.moved_bytes:  # in FP16, by the row of passes
                parser["moved_bytes"] = choice.moved_bytes
            verification["parser"] = parser
        with stages.stage("comparing with PyTorch"):
            got = verify.run_graph(path, reference.frames, core.memory)
        verification |= _prove(got, reference.wanted, reference, options, stages)
        if options.batch is not None:
            with stages.stage(f"batches of {options.batch}, against PyTorch"):
                rows = make_batch(aside, loaded, options, reference, choice.row, half)
            try:
                figures = _prove(
                    rows, reference.wanted * options.batch, reference, options, stages
                )
            except VerificationError as error:
                raise VerificationError(f"--batch {options.batch}: {error}") from error
            verification["batch"] = figures["onnxruntime"]
        if drift is not None:
            require_bounded(drift, verify.least_psnr_db(precision, options.tolerance))
        if calibration is not None:
            if options.tolerance is None:
                expected = expected_psnr_db(calibration, half.comparison)
                verify.require_as_measured(verify.compare(got, measured), expected)
            got = verify.run_graph(path, reference.frames, core.memory, as_written=True)
        golden = golden_clip(path, loaded, core, reference, got, options)
        written = write_golden(aside, *golden)
        if half.comparison is not None:
            verification["fp16_emulated"] = half.comparison.to_json()
        if drift is not None:
            verification["drift"] = drift.to_json()
        if calibration is not None:
            calibration.write(aside / CALIBRATION_FILE)
            figures = summary(calibration, rest_in_fp16=options.has_halves)
            moved = measure_int8(path, core, choice, loaded.name, sizes.optimum)
            if moved is not None and options.target != "onnxruntime":
                figures["moved_bytes"] = moved.to_json()
                if moved.warning():
                    _log.warning("%s", moved.warning())
            verification["int8"] = figures
        manifest = manifest_of(
            options,
            loaded,
            aside,
            golden=written,
            states=core.memory.states,
            operators=operators,
            passes=passes,
            fp32_nodes=tuple(sorted(half.keep_fp32)),
            verification={k: v for k, v in verification.items() if v},
        )
        manifest.write(aside)
        model_bytes = path.stat().st_size
    return ExportResult(
        bundle=Bundle(folder, manifest),
        model_bytes=model_bytes,
        nodes=len(core.model.graph),
        seconds=stages.seconds,
    )


def _prove(
    got: list[Frame],
    wanted: list[Frame],
    reference: Reference,
    options: ExportOptions,
    stages: Stages,
) -> dict[str, dict[str, Any]]:
    """Compare what a file makes of the frames with what PyTorch does.

    Raises:
        VerificationError: They differ.
    """
    precision, least = options.precision, options.tolerance
    comparison = verify.compare(got, wanted)
    figures = {"onnxruntime": comparison.to_json()}
    scatter: verify.GraphComparison | None = None
    if precision == "fp32" and least is None and not verify.is_fp32(comparison):
        with stages.stage("measuring how PyTorch itself scatters"):
            scatter = reference.scatter()
        figures["pytorch_other_kernels"] = scatter.to_json()
    if precision == "fp32":
        verify.require_fp32(comparison, least, scatter)
    elif precision == "fp16":
        verify.require_fp16(comparison, least)
    else:
        verify.require_int8(comparison, least)
    return figures
