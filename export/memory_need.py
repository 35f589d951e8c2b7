"""Whether an export fits into memory, before the system ends it half-way."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from derain.core.errors import ExportError
from derain.core.memory import available_bytes
from derain.core.sizes import Size

_log = logging.getLogger(__name__)

# Above this share of what is left, a note: kernels take workspace besides.
_NOTED = 0.5
# Of a frame, in pixels: below, what exists at once is small change.
_LARGE = 1_000_000


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts the bytes of tensors that exist at once.

    Attributes:
        peak: The most so far.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func` and count what it makes."""
        result = func(*args, **(kwargs or {}))
        for each in torch.utils._pytree.tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._count(each)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        try:
            storage = tensor.untyped_storage()
            place, size = storage.data_ptr(), storage.nbytes()
        except (RuntimeError, NotImplementedError):  # without memory of its own
            return
        if not self._users.get(place):
            self._now += size
            self.peak = max(self.peak, self._now)
        self._users[place] = self._users.get(place, 0) + 1
        weakref.finalize(tensor, self._forget, place, size).atexit = False

    def _forget(self, place: int, size: int) -> None:
        self._users[place] -= 1
        if not self._users[place]:
            del self._users[place]
            self._now -= size


def require_memory(run: Callable[[], object], at: Size, largest: Size) -> None:
    """Say it, or raise, where frames of `largest` take what this machine lacks.

    Args:
        run: Derains a frame of `at` with PyTorch.
        at: Size of that frame.
        largest: What is to be derained and exported.

    Raises:
        ExportError: The tensors alone are more than there is.
    """
    left = available_bytes()
    if left is None or largest.pixels < _LARGE:
        return
    with LiveTensors() as memory:
        run()
    # A lower bound: attention over all pixels grows faster, and kernels add their own.
    need = memory.peak * largest.pixels // at.pixels
    text = f"frames of {largest} take {need / 1e9:.1f} GB at least, and"
    if need > left:
        raise ExportError(
            f"{text} {left / 1e9:.1f} GB are left here; export a smaller --size, or on "
            "a machine with more memory"
        )
    if need > _NOTED * left:
        _log.warning(f"{text} {left / 1e9:.1f} GB are left here: it may be stopped")
