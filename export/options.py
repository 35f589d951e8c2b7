"""The options of an export: of derain-export and of ``derain.export``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from derain.calibration.options import CalibrationOptions
from derain.core.batch_file import MOST_BATCH
from derain.core.commands import DECIBELS, Parsed, Whole
from derain.core.errors import ConfigError
from derain.core.frame_contract import UNIT_RANGE
from derain.core.manifest import Precision, Target
from derain.core.options import option
from derain.core.sizes import ANY_SIZE, Size, SizeLike, SizeRange, SizeRangeLike
from derain.models.arguments import parse_argument, unique
from derain.models.forward_inputs import Feed, parse_input
from derain.models.registry import NetworkFacts

if TYPE_CHECKING:
    from derain.calibration.frame_store import FrameSource

DEFAULT_SIZE = Size(1280, 720)
ANY = "any"
_FARTHEST = 65504.0  # what FP16 has


def _parse_size(text: str) -> SizeLike:
    return ANY if text == ANY else Size.parse(text)


def _parse_range(text: str) -> SizeRange:
    sizes = SizeRange.parse(text)
    if sizes.is_static:
        raise ValueError(f"{text!r} is one size; use --size for that")
    return sizes


def _parse_values(text: str) -> tuple[float, float]:
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        black, white = 0.0, 0.0
    if not -_FARTHEST <= black < white <= _FARTHEST:
        raise ValueError(
            f"{text!r} is no range of values; wanted BLACK,WHITE such as -1,1 or 0,255"
        )
    return black, white


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export; every default stands here.

    Attributes:
        weights: Checkpoint; None takes the weights that ship, or leaves a network of
            the user's own as it is.
        random_weights: Take untrained weights.
        size: Size of the frames; ``"any"`` takes `ANY_SIZE`, None `DEFAULT_SIZE`.
        dynamic: Sizes the graph must accept, in place of one.
        precision: Precision of the graph's tensors.
        calibrate_on: For INT8: frames of the camera that it is for, in rain.
        int8: For INT8: how to calibrate on them.
        calibration: For INT8: file of a calibration, in place of both.
        target: What the graph is written for.
        batch: Frames of as many cameras that a second graph takes in one call.
        fused_units: Make each ShuffleNet unit of QSNet's kind one node.
        output: Folder of the bundle; None names it after the model.
        force: Replace an existing bundle, report, and kept graphs.
        opset: Version of the standard operators.
        tolerance: Least PSNR against PyTorch, in dB, in place of ours.
        frames: What to verify on; None takes the package's photographs.
        bgr: The network works on BGR.
        rain: The network returns the rain layer.
        args: To build the network with, by name.
        inputs: What its forward is given besides pictures, by name.
        value_range: What black and white are to it, in and out; None is 0 and 1.
        output_index: Which of several outputs is meant, from 0.
        multiple_of: Height and width are padded to a multiple of this, in pixels.
        minimum: Smallest height and width that the network takes, in pixels.
        window: Frames that the network sees at once; the bundle remembers them.
        look_ahead: How many frames after the one that it derains it has seen.
        keep_graphs: Folder for the graph after every step.
    """

    weights: Path | None = option(
        None,
        "Checkpoint: safetensors or a PyTorch file. Default: the weights that ship.",
        kind=click.Path(path_type=Path),
    )
    random_weights: bool = option(False, "Untrained weights, for benchmarks.")
    size: SizeLike | None = option(
        None,
        f"Size of the frames, or any: from {ANY_SIZE.minimum} to {ANY_SIZE.maximum}. "
        f"Default: {DEFAULT_SIZE}.",
        kind=Parsed("WIDTHxHEIGHT|any", _parse_size),
    )
    dynamic: SizeRangeLike | None = option(
        None,
        "Accept a range of sizes, such as 320x240,1280x720,1920x1088.",
        kind=Parsed("MIN,OPT,MAX", _parse_range),
    )
    precision: Precision = "fp32"
    calibrate_on: FrameSource | None = option(
        None,
        "INT8: video, folder or live source of the camera that it is for, in rain "
        "(see --dry).",
        metavar="SOURCE",
    )
    int8: CalibrationOptions = field(default_factory=CalibrationOptions)
    calibration: Path | None = option(
        None,
        "INT8: file of derain-calibrate, in place of --calibrate-on and of every "
        "option of calibration.",
        kind=click.Path(path_type=Path),
    )
    target: Target = option(
        "any",
        "Write the graph for one compiler; 'any' runs everywhere.",
        kind=click.Choice(get_args(Target)),
        show_default=True,
    )
    batch: int | None = option(
        None,
        "For several cameras on ONNX Runtime or OpenVINO: a second graph, which takes "
        "one frame each of this many in one call. derain-run takes it where it "
        "measures a gain.",
        kind=Whole(2, MOST_BATCH),
        metavar="N",
    )
    fused_units: bool = option(
        False,
        "tensorrt, FP16: make each of qsnet's ShuffleNet units one node, for "
        "derain-compile --fused-units; no GPU has run its kernel yet.",
    )
    output: Path | None = option(
        None,
        "Bundle to make.",
        kind=click.Path(path_type=Path),
        names=("--output", "-o"),
    )
    force: bool = option(False, "Replace an existing bundle.")
    opset: int = option(
        20,
        "ONNX opset; TensorRT 10.3 takes up to 20.",
        kind=Whole(18, 23),
        show_default=True,
    )
    tolerance: float | None = option(
        None,
        "Least PSNR against PyTorch that passes. Default: FP32 99.9 % of pixels "
        "identical and none off by more than 1 level, FP16 50 dB.",
        kind=DECIBELS,
        metavar="DB",
    )
    frames: FrameSource | None = option(
        None,
        "Picture, folder or video to verify on. Default: photographs with rendered "
        "rain.",
        metavar="SOURCE",
    )
    bgr: bool = option(False, "Own network: it works on BGR.")
    rain: bool = option(False, "Own network: it returns the rain layer.")
    args: tuple[tuple[str, Any], ...] = option(
        (),
        "Own network: an argument of its constructor (or of a function), such as "
        "width=32; what an object named args or opt holds, too. May be repeated.",
        kind=Parsed("NAME=VALUE", parse_argument),
        names=("--arg",),
        multiple=True,
    )
    inputs: tuple[tuple[str, Feed], ...] = option(
        (),
        "Own network: what forward is given besides the picture: NAME=frame, half, "
        "quarter or constant:VALUE. May be repeated.",
        kind=Parsed("NAME=WHAT", parse_input),
        names=("--input",),
        multiple=True,
    )
    value_range: tuple[float, float] | None = option(
        None,
        "Own network: black and white in its input and output, such as -1,1 or 0,255. "
        "Default: 0,1.",
        kind=Parsed("BLACK,WHITE", _parse_values),
        names=("--range",),
    )
    output_index: int | None = option(
        None,
        "Own network: which of several outputs is meant, from 0. Default: the first of "
        "the frame's size.",
        kind=Whole(0, 1000),
    )
    multiple_of: int | None = option(
        None,
        "Own network: height and width are padded to a multiple of this.",
        kind=Whole(1, 4096),
    )
    minimum: int | None = option(
        None,
        "Own network: smallest height and width it takes.",
        kind=Whole(1, 4096),
    )
    window: int | None = option(
        None,
        "Own network: it sees this many frames at once, the newest last, as (N, T*3, "
        "H, W), (N, T, 3, H, W), (N, 3, T, H, W) or T arguments.",
        kind=Whole(1, 64),
        metavar="T",
    )
    look_ahead: int | None = option(
        None,
        "Own network with a memory: it derains the frame this many before the newest.",
        kind=Whole(0, 64),
        metavar="K",
    )
    keep_graphs: Path | None = option(
        None,
        "Write the graph after every pass and stage into this folder, numbered.",
        kind=click.Path(path_type=Path),
        metavar="FOLDER",
    )

    @property
    def sizes(self) -> SizeRange:
        """Frame sizes the graph must accept."""
        if self.dynamic is not None:
            return SizeRange.of(self.dynamic)
        if self.size == ANY:
            return ANY_SIZE
        return SizeRange.static(Size.of(self.size or DEFAULT_SIZE))

    @property
    def has_halves(self) -> bool:
        """Whether what is not INT8 is FP16: everywhere but on processors' own kernels.

        ONNX Runtime's processor has no FP16 kernels; Casts around every layer would
        keep it from its INT8 ones.
        """
        return self.precision == "fp16" or (
            self.precision == "int8" and self.target != "onnxruntime"
        )

    def facts(self) -> NetworkFacts:
        """How to feed a network of the user's own."""
        return NetworkFacts(
            colour="bgr" if self.bgr else "rgb",
            returns_rain=self.rain,
            output_index=self.output_index or 0,
            multiple_of=self.multiple_of or 1,
            minimum=self.minimum or 1,
            value_range=self.value_range or UNIT_RANGE,
        )

    def folder(self, name: str) -> Path:
        """Where the bundle of the network `name` goes."""
        if self.output is not None:
            return self.output
        name = name.rpartition(":")[2].lower()
        size = str(self.sizes) if self.sizes.is_static else "dynamic"
        size = ANY if self.size == ANY else size
        target = "" if self.target == "any" else f"-{self.target}"
        return Path(f"{name}-{self.precision}{target}-{size}")

    def check(self, *, own: bool) -> None:
        """Raise where options contradict each other.

        Args:
            own: Whether the network is the user's own.

        Raises:
            ConfigError: They do.
        """
        if self.precision not in get_args(Precision):
            raise ConfigError(
                f"precision {self.precision!r}: wanted {', '.join(get_args(Precision))}"
            )
        if self.size is not None and self.dynamic is not None:
            raise ConfigError("--size and --dynamic exclude each other")
        try:
            _ = self.sizes
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.weights is not None and self.random_weights:
            raise ConfigError("--weights and --random-weights exclude each other")
        given = {
            "--bgr": self.bgr,
            "--rain": self.rain,
            "--arg": self.args,
            "--input": self.inputs,
            "--range": self.value_range,
            "--output-index": self.output_index is not None,
            "--multiple-of": self.multiple_of,
            "--minimum": self.minimum,
            "--window": self.window,
            "--look-ahead": self.look_ahead,
        }
        if not own and any(given.values()):
            idle = ", ".join(name for name, value in given.items() if value)
            raise ConfigError(
                f"for a network of your own, --model package.module:Class: {idle}"
            )
        unique(self.args, "--arg")
        unique(self.inputs, "--input")
        if self.fused_units and (self.target, self.precision) != ("tensorrt", "fp16"):
            raise ConfigError(
                f"--fused-units: got --{self.precision} --target {self.target}, "
                "but the kernel is for --fp16 --target tensorrt"
            )
        if self.batch is not None and self.target == "tensorrt":
            raise ConfigError(
                "--batch is for ONNX Runtime and OpenVINO: engines take one frame a "
                "call; export without --batch, or without --target tensorrt"
            )
        if self.batch is not None and self.precision == "int8":
            raise ConfigError("--batch is for --fp32 and --fp16, got --int8")
        int8 = self.calibrate_on is not None or self.calibration is not None
        if self.precision != "int8" and int8:
            raise ConfigError("--calibrate-on and --calibration are for --int8 alone")
