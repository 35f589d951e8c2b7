"""What the user asked for about the output; free of NumPy, as defaults are."""

from __future__ import annotations

from dataclasses import dataclass

CODEC_FIELD = "?codec="  # behind the name of a video: ``out.mp4?codec=hevc``
CODECS = {"h264": "H.264", "hevc": "HEVC"}
DEFAULT_CRF = 17  # x264's "visually lossless or nearly so" is 17 or 18


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """What the user asked for about the output.

    Attributes:
        force: Whether existing files may be replaced.
        crf: x264's constant rate factor: 0 is lossless, 51 the worst.
        codec: One of `CODECS`.
        limit: At most this many frames will come; None: all of the source.
    """

    force: bool = False
    crf: int = DEFAULT_CRF
    codec: str = "h264"
    limit: int | None = None
