import pytest
import torch
import torch.nn.functional as F
from torch.library import opcheck

from derain.models.operators import region_non_local, unpool_by_indices
from support.plain_networks import attention_by_chunks


def _maps(height, width, n=2, c=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def rand(h, w):
        values = 2 * torch.randn(n, c, h, w, generator=generator, dtype=dtype)
        return values.requires_grad_()

    half = (height // 2, width // 2)
    return rand(height, width), rand(*half), rand(*half)


def _pooled(height, width, n=2, c=3):
    """A pool's input full of ties, and its output with the indices."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 3, (n, c, height, width), generator=generator).double()
    return x, *F.max_pool2d(x, 2, return_indices=True)


@pytest.mark.parametrize(
    ("height", "width", "regions"),
    [(4, 6, 1), (8, 8, 2), (16, 8, 4), (16, 32, 8)],
)
def test_region_non_local_is_attention_in_each_region(height, width, regions):
    maps = _maps(height, width)
    got = region_non_local(*maps, regions)
    torch.testing.assert_close(got, attention_by_chunks(*maps, regions))


def test_pooling_the_map_pools_each_region():
    x = torch.rand(1, 2, 24, 40)
    for regions in (1, 2, 4):
        rows = x.chunk(regions, dim=2)
        pooled = [
            torch.cat([F.max_pool2d(y, 2) for y in row.chunk(regions, 3)], dim=3)
            for row in rows
        ]
        assert torch.equal(F.max_pool2d(x, 2), torch.cat(pooled, dim=2))


@pytest.mark.parametrize("shape", [(6, 8), (8, 6)])
def test_region_non_local_rejects_other_sizes(shape):
    with pytest.raises(
        ValueError, match=f"{shape[0]}x{shape[1]} does not divide into 4x4 regions; pad"
    ):
        region_non_local(*_maps(*shape), 4)


@pytest.mark.parametrize("regions", [1, 2])
def test_region_non_local_gradients(regions):
    maps = _maps(4, 8, n=1, c=2)
    assert torch.autograd.gradcheck(lambda *x: region_non_local(*x, regions), maps)
    weights = torch.rand(1, 2, 4, 8, dtype=torch.float64)
    got, wanted = (
        torch.autograd.grad((f(*maps, regions) * weights).sum(), maps)
        for f in (region_non_local, attention_by_chunks)
    )
    torch.testing.assert_close(got, wanted)


def test_region_non_local_keeps_bfloat16():
    maps = [x.detach().to(torch.bfloat16) for x in _maps(8, 8)]
    got = region_non_local(*maps, 2)
    assert got.dtype == torch.bfloat16
    wanted = region_non_local(*(x.float() for x in maps), 2)
    # Eight bits of mantissa on values of some size 4.
    torch.testing.assert_close(got.float(), wanted, atol=0.05, rtol=0.02)


# Joining one region copies nothing by itself, so its layout needs a look of its own.
@pytest.mark.parametrize("regions", [1, 2])
def test_region_non_local_as_operator(regions):
    opcheck(region_non_local, (*_maps(4, 8, n=1, c=2), regions))


@pytest.mark.parametrize("regions", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_region_non_local_is_contiguous(regions, layout):
    maps = [x.detach().to(memory_format=layout) for x in _maps(8, 8)]
    assert region_non_local(*maps, regions).is_contiguous()


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9), (2, 2), (3, 2)])
def test_unpool_is_that_of_pytorch(height, width):
    _, pooled, indices = _pooled(height, width)
    got = unpool_by_indices(pooled, indices, height, width)
    wanted = F.max_unpool2d(pooled, indices, 2, output_size=(height, width))
    assert torch.equal(got, wanted)


def test_unpool_of_ties_takes_the_first():
    pooled, indices = F.max_pool2d(torch.ones(1, 1, 4, 4), 2, return_indices=True)
    got = unpool_by_indices(pooled, indices, 4, 4)
    wanted = torch.zeros(4, 4)
    wanted[::2, ::2] = 1
    assert torch.equal(got[0, 0], wanted)


def test_unpool_gradients():
    _, pooled, indices = _pooled(5, 6, n=1, c=2)
    pooled.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: unpool_by_indices(x, indices, 5, 6), (pooled,)
    )


def test_unpool_as_operator():
    _, pooled, indices = _pooled(5, 6)
    opcheck(unpool_by_indices, (pooled.requires_grad_(), indices, 5, 6))
