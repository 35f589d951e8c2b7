"""The ONNX file that plain ``torch.onnx.export`` makes, as JSON facts on stdout.

Run in a process of its own, as ``python -m
derain.benchmarks.latency.plain_export``: the memory that an export
takes would be in every later figure.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from derain.benchmarks.latency.torch_candidates import parameters
from derain.benchmarks.own_network import OwnNetwork
from derain.core.atomic_files import write_bytes
from derain.core.commands import Command
from derain.core.errors import ExportError
from derain.core.options import options_from
from derain.core.sizes import Size
from derain.export.options import ExportOptions
from derain.models.loading import LoadedNetwork, open_network
from derain.models.torch_reference import PictureNetwork


def export_plain(loaded: LoadedNetwork, size: Size, path: Path) -> None:
    """Write `loaded` at `size` as ``torch.onnx.export`` makes it, options as they come.

    The two operators of `derain.models.operators` are this project's; without it a
    network is written with matrix products and ``max_unpool2d``, and so it is here.

    Raises:
        ExportError: PyTorch cannot export it.
    """
    full = loaded.facts.padded(size)
    network: nn.Module = PictureNetwork(loaded.network, loaded.facts)
    shapes: list[tuple[int, ...]] = [(1, 3, full.height, full.width)]
    if loaded.video is not None:
        network = loaded.video
        shapes = shapes * loaded.video.window + loaded.video.shapes(full)
    example = tuple(map(torch.rand, shapes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(network.eval(), example)
            names = {str(node.target) for node in program.graph.nodes}
            if any(name.startswith("derain.") for name in names):
                program = program.run_decompositions(
                    {
                        torch.ops.derain.region_non_local.default: _attention,
                        torch.ops.derain.unpool_by_indices.default: _unpool,
                    }
                )
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
        except Exception as error:  # the exporter has no common base class
            first = next(iter(str(error).splitlines()), "")
            raise ExportError(
                f"torch.onnx.export fails: {type(error).__name__}: {first}"
            ) from error
    assert exported is not None
    write_bytes(path, exported.model_proto.SerializeToString())


def _attention(theta: Tensor, phi: Tensor, g: Tensor, regions: int) -> Tensor:
    """Non-local attention as its authors write it: two matrix products a region."""
    n, c, height, width = theta.shape
    h, w = height // regions, width // regions

    def sequences(x: Tensor) -> Tensor:
        high, wide = x.shape[2] // regions, x.shape[3] // regions
        x = x.reshape(n, c, regions, high, regions, wide).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(n * regions * regions, high * wide, c)

    scores = torch.matmul(sequences(theta), sequences(phi).transpose(1, 2))
    y = torch.matmul(torch.softmax(scores, -1), sequences(g))
    y = y.reshape(n, regions, regions, h, w, c).permute(0, 5, 1, 3, 2, 4)
    return y.reshape(n, c, height, width)


def _unpool(x: Tensor, indices: Tensor, height: int, width: int) -> Tensor:
    n, c, _, _ = x.shape
    flat = x.new_zeros(n, c, height * width)
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).view(n, c, height, width)


@click.command(cls=Command)
@click.option("--model", required=True)
@options_from(ExportOptions)
def main(model: str, options: ExportOptions) -> None:
    """Export MODEL with plain torch.onnx.export."""
    is_own = ":" in model
    own = OwnNetwork.of(options, own=is_own)
    loaded = open_network(
        model,
        weights=options.weights,
        random_weights=options.random_weights,
        facts=own.facts if is_own else None,
        **own.keywords(),
    )
    export_plain(loaded, options.sizes.optimum, options.folder(model))
    click.echo(json.dumps({"parameters": parameters(loaded)}))


if __name__ == "__main__":
    main()
