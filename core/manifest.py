"""``manifest.json``: what a bundle holds, how it was made and what it expects."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from derain.core.atomic_files import write_text
from derain.core.errors import BundleError
from derain.core.frame_contract import FrameContract
from derain.core.manifest_fields import checked
from derain.core.numbers import shortened
from derain.core.reading import read_json
from derain.core.sizes import Size, SizeRange
from derain.core.states import StateSpec

Precision = Literal["fp32", "fp16", "int8"]
Target = Literal["any", "onnxruntime", "tensorrt"]

# Raise it when a field changes meaning, never when one is added. What needs no states
# is still written as 1.
SCHEMA = 1
SCHEMA_WITH_STATES = 2
FILE_NAME = "manifest.json"
CONTRACT = "uint8 NHWC BGR frame in, uint8 NHWC BGR frame of the same size out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Frames and what the bundle must make of them, as PNG files.

    One frame; a clip of at least four where the bundle has states.

    Attributes:
        inputs: File names of the rainy frames, in order.
        outputs: File names of the derained frames, one for each of `inputs`, computed
            when the bundle was made. With look-ahead, the last ones are what is
            flushed.
        min_psnr_db: A backend with a result further from one of `outputs` is broken.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    min_psnr_db: float

    def __post_init__(self) -> None:
        if not self.min_psnr_db > 0:  # also where it is not a number
            raise ValueError(f"golden.min_psnr_db {self.min_psnr_db} is not above 0")
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError(
                f"golden: {len(self.inputs)} inputs and {len(self.outputs)} outputs"
            )

    def to_json(self) -> dict[str, Any]:
        """As it is written: one frame by schema 1, a clip by schema 2."""
        if len(self.inputs) == 1:
            names: dict[str, Any] = {"input": self.inputs[0], "output": self.outputs[0]}
        else:
            names = {"inputs": list(self.inputs), "outputs": list(self.outputs)}
        return {**names, "min_psnr_db": self.min_psnr_db}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Golden:
        """What `to_json` wrote.

        Raises:
            KeyError: A field is missing.
            ValueError: A value makes no sense.
        """
        clip = "inputs" in fields
        inputs = fields["inputs"] if clip else [fields["input"]]
        outputs = fields["outputs"] if clip else [fields["output"]]
        return cls(
            inputs=tuple(map(str, inputs)),
            outputs=tuple(map(str, outputs)),
            min_psnr_db=float(fields["min_psnr_db"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How a bundle was made and what it expects.

    Attributes:
        model: Name of the network, or ``package.module:Class``.
        precision: Lowest precision in the graph.
        target: Compiler the custom operators' bodies were written for.
        sizes: Frame sizes the graph accepts.
        golden: The self-test.
        files: SHA-256 of every other file of the bundle, by name.
        weights: Where the weights came from and their SHA-256.
        network: Facts about the network: class, paper, colour order, padding.
        operators: Body and version of each custom operator in the graph, by name.
        fp32_nodes: Nodes of an FP16 graph that stay in FP32, as they are named in it.
        passes: What each graph pass changed, in the order they ran.
        verification: Figures of the comparison with PyTorch.
        tools: Versions of what made the bundle.
        created: UTC date and time, ISO 8601.
        engines: Records of the engines compiled from it, for
            `derain.runtime.tensorrt.engine_record`; kept as they are here, so that
            a damaged one stops no other backend.
        states: What the graph remembers between frames, in order.
        look_ahead: Frames of the future that the network sees: what it makes of frame
            k belongs to frame k - `look_ahead`.
        batch: Frames of as many cameras that a second graph takes in one call, see
            `derain.core.batch_file`; 1: there is none.
    """

    model: str
    precision: Precision
    target: Target
    sizes: SizeRange
    golden: Golden
    files: dict[str, str]
    weights: dict[str, str] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    operators: dict[str, str] = field(default_factory=dict)
    fp32_nodes: tuple[str, ...] = ()
    passes: dict[str, int] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    created: str = ""
    engines: tuple[Any, ...] = ()
    states: tuple[StateSpec, ...] = ()
    look_ahead: int = 0
    batch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision {shortened(self.precision)} is not known")
        if self.target not in get_args(Target):
            raise ValueError(f"target {shortened(self.target)} is not known")
        names = [state.name for state in self.states]
        if sorted(set(names)) != names:
            raise ValueError(f"states {', '.join(names)} are not in order")
        if self.look_ahead < 0 or (self.look_ahead and not self.states):
            raise ValueError(
                f"look_ahead {self.look_ahead} with {len(self.states)} states"
            )

    @property
    def frame_contract(self) -> FrameContract:
        """What the network wants of a frame's size."""
        return FrameContract(
            multiple_of=int(self.network.get("multiple_of", 1)),
            minimum=int(self.network.get("minimum", 1)),
        )

    def padded(self, size: Size) -> Size:
        """The size at which the network sees a frame of `size`."""
        return self.frame_contract.padded(size)

    def state_bytes(self, size: Size) -> int:
        """Bytes of all states for frames of `size`; 0 without any.

        Raises:
            ValueError: A length does not come out whole.
        """
        lengths = {"float32": 4, "float16": 2, "uint8": 1}
        return sum(
            math.prod(shape) * lengths[state.dtype]
            for state, shape in zip(self.states, self.state_shapes(size), strict=True)
        )

    def state_shapes(self, size: Size) -> list[tuple[int, ...]]:
        """Shapes of the states for frames of `size`.

        Raises:
            ValueError: A length does not come out whole.
        """
        padded = self.padded(size)
        return [state.shape_for(size, padded) for state in self.states]

    def to_json(self) -> dict[str, Any]:
        """The manifest as the JSON object that is written to disk."""
        sizes = {
            name: str(getattr(self.sizes, name))
            for name in ("minimum", "optimum", "maximum")
        }
        fields = {
            "schema": SCHEMA_WITH_STATES if self.states else SCHEMA,
            "contract": CONTRACT,
            **asdict(self),
            "sizes": sizes,
            "golden": self.golden.to_json(),
            "fp32_nodes": list(self.fp32_nodes),
            "engines": list(self.engines),
            "states": [state.to_json() for state in self.states],
        }
        if not self.states:
            del fields["states"], fields["look_ahead"]
        if self.batch == 1:
            del fields["batch"]
        return fields

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into `folder`, whole or not at all."""
        text = json.dumps(self.to_json(), indent=2)
        write_text(folder / FILE_NAME, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``manifest.json`` of the bundle in `folder`.

        Fields that this version does not know are ignored: a newer derain of the same
        schema may add some.

        Raises:
            BundleError: There is none, or it is of another schema, or a field is
                missing or has a value that makes no sense.
        """
        path = folder / FILE_NAME
        try:
            fields = read_json(path)
        except FileNotFoundError as error:
            raise BundleError(
                f"{folder} is not a bundle: it has no {FILE_NAME}; "
                "make one with derain-export"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BundleError(f"{path} cannot be read: {reason}") from error
        try:
            return cls._from_json(fields)
        except KeyError as error:
            raise BundleError(f"{path} has no field {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{path}: {error}") from error

    @classmethod
    def _from_json(cls, fields: dict[str, Any]) -> Manifest:
        fields = checked(fields)
        schema = fields["schema"]
        if schema not in (SCHEMA, SCHEMA_WITH_STATES) or isinstance(schema, bool):
            raise ValueError(
                f"schema {shortened(schema)}, this version of derain reads {SCHEMA} "
                f"and {SCHEMA_WITH_STATES}; export again"
            )
        names = cls.__dataclass_fields__
        known = {name: value for name, value in fields.items() if name in names}
        return cls(
            **{
                **known,
                "sizes": SizeRange(
                    *(
                        Size.parse(known["sizes"][name])
                        for name in ("minimum", "optimum", "maximum")
                    )
                ),
                "golden": Golden.from_json(known["golden"]),
                "files": {str(k): str(v) for k, v in known["files"].items()},
                "fp32_nodes": tuple(known.get("fp32_nodes", ())),
                "engines": tuple(known.get("engines", ())),
                "states": tuple(map(StateSpec.from_json, known.get("states", ()))),
                "look_ahead": int(known.get("look_ahead", 0)),
            }
        )
