"""Frames of sizes that a bundle does not take: another bundle that does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from derain.core.bundle import Bundle
from derain.core.sizes import Size
from derain.runtime.derainer import Derainer


class BundleChoice:
    """Opens bundles when their sizes come, and keeps them open.

    Args:
        first: What is open already, and is taken where nothing fits.
        others: Bundles that may be opened, the preferred ones first.
        open_bundle: Opens one; called in the thread that calls `choose`.
    """

    def __init__(
        self,
        first: Derainer,
        others: Sequence[Bundle],
        open_bundle: Callable[[Bundle], Derainer],
    ) -> None:
        self._first = first
        self._others = others
        self._open = open_bundle
        self._opened: dict[int, Derainer] = {}

    def choose(self, size: Size) -> Derainer:
        """What derains frames of `size`; the first one, if none takes it.

        Raises:
            EngineError: The bundle for this size does not run here.
        """
        if size in self._first.sizes:
            return self._first
        for number, bundle in enumerate(self._others):
            if size in bundle.manifest.sizes:
                if number not in self._opened:
                    self._opened[number] = self._open(bundle)
                return self._opened[number]
        return self._first

    def close(self) -> None:
        """Close what was opened here."""
        while self._opened:
            self._opened.popitem()[1].close()
