"""Frames of sizes that a bundle does not take: another bundle, or scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from derain.core.bundle import Bundle
from derain.core.sizes import Size, SizeRange
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
        if size in self._first.bundle.manifest.sizes:
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


def nearest_size(size: Size, sizes: SizeRange) -> Size:
    """The size in `sizes` that `size` should be scaled to.

    It keeps the shape of the picture as far as `sizes` allows, and changes as little as
    it can.
    """
    low, high = sizes.minimum, sizes.maximum
    scale = min(1.0, high.width / size.width, high.height / size.height)
    if scale == 1.0:
        scale = max(1.0, low.width / size.width, low.height / size.height)
    return Size(
        min(max(round(size.width * scale), low.width), high.width),
        min(max(round(size.height * scale), low.height), high.height),
    )


def scale(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """`image` at `size`; averaged when it gets smaller, so that nothing flickers."""
    shrinks = size.pixels < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(image, (size.width, size.height), interpolation=method)
    return cast(NDArray[np.uint8], resized)
