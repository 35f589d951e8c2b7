"""How the colours of a video are coded."""

from __future__ import annotations

from dataclasses import dataclass, replace

from derain.core.sizes import Size

_UNSPECIFIED = 2
# Matrices swscale computes with: BT.709, FCC, BT.470BG, SMPTE 170M, 240M, BT.2020.
_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
_HD_LINES = 720

LIMITED_RANGE = 1  # luma from 16 to 235, "tv"; AVCOL_RANGE_MPEG
FULL_RANGE = 2  # all of 0 to 255, "pc"; AVCOL_RANGE_JPEG


@dataclass(frozen=True, slots=True)
class Colour:
    """The colour tags of a video: code points of ITU-T H.273, as FFmpeg uses them."""

    matrix: int
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    def resolved(self, size: Size) -> Colour:
        """The same with a matrix that can be computed with.

        An untagged video is read as players read it: BT.709 from 720 lines on, BT.601
        below. The result is tagged with what was assumed, so nobody guesses twice.
        """
        if self.matrix in _MATRICES:
            return self
        lines = min(size.width, size.height)  # also of a phone held upright
        assumed = BT709 if lines >= _HD_LINES else BT601
        if _UNSPECIFIED in (self.primaries, self.transfer):
            return assumed
        return replace(self, matrix=assumed.matrix)


BT709 = Colour(1, 1, 1)  # HD video; what pictures are coded with
BT601 = Colour(6, 6, 6)  # SD video
