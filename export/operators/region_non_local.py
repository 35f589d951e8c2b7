"""Bodies of ``RegionNonLocal``: attention inside each of r x r regions of a map.

Both cut the maps into regions by reshaping, treat the regions as a batch and never hold
the scores of a whole layer. How each was chosen, on 2 cores of an x86-64 with AVX-512,
ONNX Runtime 1.31, best of three runs in one process:

    regions, queries x keys, channels   fused    tiles of 64 MB   PyTorch's fused
    granet  4x4   14720 x 3680   16     0.23 s   0.30 s           0.53 s
    granet  1x1   14720 x 3680   16     0.015 s  0.020 s          0.031 s
    nledn   8x8   14400 x 3600   32     1.32 s   2.19 s           2.84 s

Tiles of 21 MB and of 216 MB were within 20 % of tiles of 64 MB (0.29 and 0.36 s).
"""

from __future__ import annotations

import onnx_ir as ir

from derain.core.manifest import Target
from derain.core.sizes import Size
from derain.export.operators.bodies import Body

# The scores of one tile. Large enough that 1280x720 needs at most some 200 tiles,
# small enough for the 8 GB that an Orin Nano shares between processor and GPU.
TILE_BYTES = 64 << 20
# Scores grow with the square of the pixels: granet for up to 3920x2224 came to 4541
# tiles of 64 MB, 54,000 nodes, and ONNX Runtime took more than 6 minutes to open it.
MOST_TILES = 256


def tile_count(regions: int, queries: int, keys: int, bytes_per_score: int) -> int:
    """How many tiles keep the scores of one below `TILE_BYTES`.

    At most about `MOST_TILES`: beyond them, tiles grow instead.

    Args:
        regions: Regions in all (r x r).
        queries: Queries of a region.
        keys: Keys of a region.
        bytes_per_score: 4 for FP32, 2 for FP16.
    """
    tiles = -(-regions * queries * keys * bytes_per_score // TILE_BYTES)
    tiles = max(1, min(tiles, queries, MOST_TILES))
    # Split makes pieces of ceil(queries / tiles), of which the last must not be empty.
    while -(-queries // tiles) * (tiles - 1) >= queries:
        tiles += 1
    return tiles


def region_tiles(regions: int, tiles: int) -> int:
    """Into how many pieces of equal size `regions` squared are cut for `tiles` tiles.

    TensorRT multiplies the queries of several tiles by the keys that they share in one
    matrix product, writes all scores and never comes to its fused attention: granet at
    1280x720 moved 16.9 GB a frame with such tiles, 6.0 GB without. Regions share no
    keys.
    """
    count = regions * regions
    return next(
        k for k in range(1, count + 1) if k >= min(tiles, count) and not count % k
    )


def region_non_local(
    regions: int,
    channels: int,
    tiles: int,
    *,
    sizes: tuple[Size, Size] | None,
    rounded: bool,
    target: Target,
    opset: int,
) -> ir.Function:
    """The function for one node.

    Args:
        regions: Regions along each axis (r).
        channels: Channels of theta, phi and g (C).
        tiles: Pieces into which the queries of a region are cut, or, for TensorRT, the
            regions into as many or a few more, but no region apart.
        sizes: Sizes of theta and of phi, or None where they are known only when the
            graph runs.
        rounded: Whether scores and probabilities are rounded as FP16 tensors would be
            (see `derain.export.fp16.emulate_fp16`).
        target: ``"onnxruntime"`` takes its fused attention, which needs no tiles; any
            other target MatMul, Softmax and MatMul, which TensorRT fuses.
        opset: Version of the standard operators.
    """
    fused = target == "onnxruntime"
    # All that the body depends on: two bodies of one name would be one function.
    name = f"RegionNonLocal{regions}x{regions}Channels{channels}"
    size, key_size = sizes or (None, None)
    if sizes is not None:
        name += f"On{size}Keys{key_size}"
    by_region = target == "tensorrt"
    if by_region:
        tiles = region_tiles(regions, tiles)
    if not fused and tiles > 1:
        name += f"{'Region' if by_region else ''}Tiles{tiles}"
    if rounded:
        name += "Rounded"
    body = Body(name, ["theta", "phi", "g"], opset)
    theta, phi, g = body.inputs
    large = _Regions(body, theta, size, regions, channels)
    small = _Regions(body, phi, key_size, regions, channels)
    queries = large.sequence(theta)
    values = small.sequence(g)
    if fused:
        attended = body.op(
            "MultiHeadAttention",
            queries,
            small.sequence(phi),
            values,
            domain="com.microsoft",
            num_heads=1,
            scale=1.0,
        )
    else:
        keys = small.columns(phi)
        pieces = []
        if by_region:
            cuts = [_regions_apart(body, x, tiles) for x in (queries, keys, values)]
        else:
            cut = _pieces(body, queries, tiles, dynamic=sizes is None)
            cuts = [cut, [keys] * tiles, [values] * tiles]
        for piece, some_keys, some_values in zip(*cuts, strict=True):
            scores = body.op("MatMul", piece, some_keys)
            if rounded:
                scores = body.as_half(scores)
            weights = body.op("Softmax", scores, axis=-1)
            if rounded:
                weights = body.as_half(weights)
            pieces.append(body.op("MatMul", weights, some_values))
        axis = 0 if by_region else 1
        attended = body.op("Concat", *pieces, axis=axis) if tiles > 1 else pieces[0]
    return body.finish(large.join(attended))


class _Regions:
    """Cuts maps of one size into regions, and joins regions into such a map.

    The lengths are constants where they are known.
    """

    def __init__(
        self, body: Body, like: ir.Value, size: Size | None, regions: int, channels: int
    ) -> None:
        self._body = body
        self._regions = regions
        self._channels = channels
        if size is not None:
            self._height = body.ints(size.height // regions)
            self._width = body.ints(size.width // regions)
            self._shape = body.ints(1, channels, size.height, size.width)
            return
        count = body.ints(regions)
        self._height = body.op("Div", body.op("Shape", like, start=2, end=3), count)
        self._width = body.op("Div", body.op("Shape", like, start=3, end=4), count)
        self._shape = body.op("Shape", like)

    def sequence(self, x: ir.Value) -> ir.Value:
        """`(1, C, H, W)` -> `(r*r, pixels of a region, C)`."""
        cut = self._body.op("Transpose", self._cut(x), perm=[1, 3, 2, 4, 0])
        r, c = self._regions, self._channels
        return self._body.op("Reshape", cut, self._body.ints(r * r, -1, c))

    def columns(self, x: ir.Value) -> ir.Value:
        """`(1, C, H, W)` -> `(r*r, C, pixels of a region)`."""
        cut = self._body.op("Transpose", self._cut(x), perm=[1, 3, 0, 2, 4])
        r, c = self._regions, self._channels
        return self._body.op("Reshape", cut, self._body.ints(r * r, c, -1))

    def join(self, x: ir.Value) -> ir.Value:
        """`(r*r, pixels of a region, C)` -> `(1, C, H, W)`."""
        body, r = self._body, self._body.ints(self._regions)
        c = body.ints(self._channels)
        shape = body.op("Concat", r, r, self._height, self._width, c, axis=0)
        cut = body.op("Reshape", x, shape)
        rows = body.op("Transpose", cut, perm=[4, 0, 2, 1, 3])
        return body.op("Reshape", rows, self._shape)

    def _cut(self, x: ir.Value) -> ir.Value:
        """`(1, C, H, W)` -> `(C, r, H/r, r, W/r)`."""
        body, r = self._body, self._body.ints(self._regions)
        c = body.ints(self._channels)
        shape = body.op("Concat", c, r, self._height, r, self._width, axis=0)
        return body.op("Reshape", x, shape)


def _regions_apart(body: Body, x: ir.Value, tiles: int) -> list[ir.Value]:
    """Cut `(R, ...)` into `tiles` pieces of as many regions."""
    if tiles == 1:
        return [x]
    return list(body.ops("Split", x, outputs=tiles, axis=0, num_outputs=tiles))


def _pieces(
    body: Body, queries: ir.Value, tiles: int, *, dynamic: bool
) -> list[ir.Value]:
    """Cut `(R, L, C)` along L into `tiles` pieces."""
    if tiles == 1:
        return [queries]
    if not dynamic:
        return list(
            body.ops("Split", queries, outputs=tiles, axis=1, num_outputs=tiles)
        )
    # Split refuses to make an empty last piece, which a small map can ask for; slices
    # from i*L/tiles to (i+1)*L/tiles are right for every L.
    length = body.op("Shape", queries, start=1, end=2)
    bounds = [
        body.op("Div", body.op("Mul", length, body.ints(i)), body.ints(tiles))
        for i in range(tiles + 1)
    ]
    return [
        body.op("Slice", queries, bounds[i], bounds[i + 1], body.ints(1))
        for i in range(tiles)
    ]
