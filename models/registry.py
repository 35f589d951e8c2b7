"""The deraining networks this toolkit knows, and what is true of each.

One row per network. A row is data, so ``derain-export --help`` can list the table
without importing PyTorch; the class is imported by `create_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from derain.core.errors import UnknownNameError
from derain.core.frame_contract import FrameContract
from derain.core.lazy import load

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts(FrameContract):
    """What the exporter and the trainer must know to feed a network.

    Attributes:
        returns_rain: Whether the network returns the rain layer instead of the picture.
        output_index: Which output is meant, where the network returns several.
    """

    returns_rain: bool = False
    output_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One network.

    Attributes:
        module: Module under `derain.models.networks`.
        cls: Class in that module; called with no arguments.
        paper: Where the network was published.
        facts: How to feed it.
        memory: Whether it has states (`derain.models.video_network`).
    """

    module: str
    cls: str
    paper: str
    facts: NetworkFacts = NetworkFacts()
    memory: bool = False


MODELS = {
    "qsnet": ModelEntry(
        module="qsnet",
        cls="QSNet",
        paper="Multi-Decoding Deraining Network and Quasi-Sparsity Based Training, "
        "CVPR 2021, arXiv:1812.08348",
    ),
    "granet": ModelEntry(
        module="granet",
        cls="GraNet",
        paper="Yu et al., Gradual Network for Single Image De-raining, MM 2019",
        facts=NetworkFacts(multiple_of=16, minimum=16),
    ),
    "dcsfn": ModelEntry(
        module="dcsfn",
        cls="DCSFN",
        paper="Wang et al., DCSFN: Deep Cross-scale Fusion Network for Single Image "
        "Rain Removal, MM 2020",
        facts=NetworkFacts(colour="bgr", minimum=32),
    ),
    "stagewise": ModelEntry(
        module="stagewise",
        cls="StageWise",
        paper="Wang et al., From Coarse to Fine: A Stage-Wise Deraining Net, "
        "IEEE Access 2019",
    ),
    "treefusion": ModelEntry(
        module="treefusion",
        cls="TreeFusion",
        paper="Fu et al., Deep Tree-Structured Fusion Model for Single Image "
        "Deraining, 2018, arXiv:1811.08632",
    ),
    "nledn": ModelEntry(
        module="nledn",
        cls="NLEDN",
        paper="Li et al., Non-locally Enhanced Encoder-Decoder Network for Single "
        "Image De-raining, MM 2018",
        facts=NetworkFacts(multiple_of=16, minimum=16),
    ),
    "rivulet": ModelEntry(
        module="rivulet",
        cls="Rivulet",
        paper="this project's own, not published",
        facts=NetworkFacts(multiple_of=16, minimum=16),
        memory=True,
    ),
    "rivulet-s": ModelEntry(
        module="rivulet",
        cls="RivuletS",
        paper="this project's own, not published",
        facts=NetworkFacts(multiple_of=16, minimum=16),
        memory=True,
    ),
}


def models() -> dict[str, ModelEntry]:
    """The networks that ship: `derain.export` takes their names.

    Returns:
        What each is, by name: its class, its paper, how to feed it. Nothing is loaded.

    Example:
        >>> import derain
        >>> sorted(derain.models())[:2]
        ['dcsfn', 'granet']
    """
    return dict(MODELS)


def create_model(name: str) -> nn.Module:
    """Build the network called `name`, in training mode, with untrained weights.

    Raises:
        UnknownNameError: `name` is not in `MODELS`.
        MissingDependencyError: PyTorch is not installed.
    """
    try:
        entry = MODELS[name]
    except KeyError:
        raise UnknownNameError("model", name, MODELS) from None
    cls = load(f"derain.models.networks.{entry.module}", entry.cls, extra="export")
    return cast("nn.Module", cls())
