"""Memory is estimated before an export that would be killed for it."""

import pytest
import torch
import torch.nn.functional as F

from derain.core.errors import ExportError
from derain.core.sizes import Size
from derain.export import memory_need
from derain.export.memory_need import LiveTensors, require_memory

SMALL, UHD = Size(64, 48), Size(3840, 2160)


def _two_maps():
    x = torch.ones(16, 64, 48)
    for _ in range(20):
        x = F.relu(x)  # two exist at once
    return x


def test_the_most_that_exists_at_once():
    with LiveTensors() as memory:
        _two_maps()
    assert memory.peak == 2 * 16 * 64 * 48 * 4


def test_views_are_counted_once():
    with LiveTensors() as memory:
        x = torch.ones(1000)
        _ = [x[:500], x.view(10, 100), x.reshape(-1)]
    assert memory.peak == 4000


# Two maps of 16 channels at 3840x2160 are 1.06 GB.
@pytest.mark.parametrize(
    ("left", "fails", "notes"), [(1000, 1, 0), (2000, 0, 1), (3000, 0, 0)]
)
def test_4k_is_refused_or_noted(monkeypatch, said, left, fails, notes):
    monkeypatch.setattr(memory_need, "available_bytes", lambda: left * 10**6)
    if fails:
        with pytest.raises(
            ExportError,
            match=r"frames of 3840x2160 take 1\.1 GB at least, and 1\.0 GB are left "
            "here; export a smaller --size",
        ):
            require_memory(_two_maps, SMALL, UHD)
    else:
        require_memory(_two_maps, SMALL, UHD)
    assert len(said()) == notes


def test_small_frames_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(memory_need, "available_bytes", lambda: 1)
    require_memory(lambda: pytest.fail("run"), SMALL, Size(640, 480))
