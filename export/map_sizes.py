"""How large the maps inside a graph of variable size can become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from derain.core.errors import ExportError


@dataclass(frozen=True, slots=True)
class MapSizes:
    """The lengths of a graph's maps at the largest frame it accepts.

    Attributes:
        largest: The value of each symbol at that frame, such as ``{"h": 68}`` where
            lengths are written ``16*h``. Empty for a graph of one size.
    """

    largest: Mapping[str, int]

    def largest_area(self, x: ir.Value) -> int:
        """Height times width of the map `x`, `(N, C, H, W)`, at the largest frame.

        Raises:
            ExportError: A length depends on something other than the frame's size.
        """
        assert x.shape is not None
        height, width = (self._length(x, n) for n in x.shape[2:])
        return height * width

    def _length(self, x: ir.Value, n: int | ir.SymbolicDim) -> int:
        if isinstance(n, int):
            return n
        value = n.evaluate(self.largest)
        if not isinstance(value, int):
            raise ExportError(
                f"the size of {x.name}, {x.shape}, does not follow from that of the "
                "frame; export one size with --size"
            )
        return value
