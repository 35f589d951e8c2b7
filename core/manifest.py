"""``manifest.json``: what a bundle holds, how it was made and what it expects."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from derain.core.atomic_files import write_text
from derain.core.errors import BundleError
from derain.core.sizes import Size, SizeRange

Precision = Literal["fp32", "fp16", "int8"]
Target = Literal["any", "onnxruntime", "tensorrt"]

SCHEMA = 1  # raise it when a field changes meaning, never when one is added
FILE_NAME = "manifest.json"
CONTRACT = "uint8 NHWC BGR frame in, uint8 NHWC BGR frame of the same size out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A frame and the frame the bundle must make of it, as PNG files.

    Attributes:
        input: File name of the rainy frame.
        output: File name of the derained frame, computed when the bundle was made.
        min_psnr_db: A backend whose result is further from `output` is broken.
    """

    input: str
    output: str
    min_psnr_db: float

    def __post_init__(self) -> None:
        if not self.min_psnr_db > 0:  # also where it is not a number
            raise ValueError(f"golden.min_psnr_db {self.min_psnr_db} is not above 0")


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

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision {self.precision!r} is not known")
        if self.target not in get_args(Target):
            raise ValueError(f"target {self.target!r} is not known")

    def to_json(self) -> dict[str, Any]:
        """The manifest as the JSON object that is written to disk."""
        sizes = {
            name: str(getattr(self.sizes, name))
            for name in ("minimum", "optimum", "maximum")
        }
        return {
            "schema": SCHEMA,
            "contract": CONTRACT,
            **asdict(self),
            "sizes": sizes,
            "fp32_nodes": list(self.fp32_nodes),
            "engines": list(self.engines),
        }

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
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleError(
                f"{folder} is not a bundle: it has no {FILE_NAME}; "
                "make one with derain-export"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from error
        try:
            return cls._from_json(fields)
        except KeyError as error:
            raise BundleError(f"{path} has no field {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{path}: {error}") from error

    @classmethod
    def _from_json(cls, fields: dict[str, Any]) -> Manifest:
        schema = fields["schema"]
        if schema != SCHEMA:
            raise ValueError(
                f"schema {schema}, this version of derain reads {SCHEMA}; export again"
            )
        names = cls.__dataclass_fields__
        known = {name: value for name, value in fields.items() if name in names}
        golden = known["golden"]
        return cls(
            **{
                **known,
                "sizes": SizeRange(
                    *(
                        Size.parse(known["sizes"][name])
                        for name in ("minimum", "optimum", "maximum")
                    )
                ),
                "golden": Golden(
                    input=str(golden["input"]),
                    output=str(golden["output"]),
                    min_psnr_db=float(golden["min_psnr_db"]),
                ),
                "files": {str(k): str(v) for k, v in known["files"].items()},
                "fp32_nodes": tuple(known.get("fp32_nodes", ())),
                "engines": tuple(known.get("engines", ())),
            }
        )
