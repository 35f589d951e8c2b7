"""Clips in every container that is read."""

from fractions import Fraction

import numpy as np

FRAMES = 40
# Codec, pixels, unit of its clock, and its units in a frame.
FORMS = {
    ".avi": ("mpeg4", "yuv420p", Fraction(1, 25), 1),
    ".flv": ("flv", "yuv420p", Fraction(1, 25), 1),
    ".gif": ("gif", "rgb8", Fraction(1, 100), 4),
    ".m2ts": ("libx264", "yuv420p", Fraction(1, 90000), 3600),
    ".mkv": ("libx264", "yuv420p", Fraction(1, 1000), 40),
    ".mp4": ("libx264", "yuv420p", Fraction(1, 12800), 512),
    ".mpg": ("mpeg2video", "yuv420p", Fraction(1, 25), 1),
    ".ogv": ("libvpx", "yuv420p", Fraction(1, 25), 1),
    ".ts": ("libx264", "yuv420p", Fraction(1, 90000), 3600),
    ".webm": ("libvpx", "yuv420p", Fraction(1, 1000), 40),
    ".wmv": ("wmv2", "yuv420p", Fraction(1, 25), 1),
    ".y4m": ("rawvideo", "yuv420p", Fraction(1, 25), 1),
}
BROADCAST = {".m2ts", ".mpg", ".ts"}  # which may lose something on the way


def noisy(size, index):
    """A picture that takes some bytes."""
    return np.random.default_rng(index).integers(
        0, 255, (size.height, size.width, 3), np.uint8
    )


def make_clip(make_video, path):
    """Write `FRAMES` noisy frames to `path`, by its suffix."""
    codec, pixels, unit, step = FORMS[path.suffix]
    return make_video(
        *(path, FRAMES),
        codec=codec,
        pixel_format=pixels,
        time_base=unit,
        pts=[index * step for index in range(FRAMES)],
        picture=noisy,
        options={"mpegts_m2ts_mode": "1"} if path.suffix == ".m2ts" else {},
        encoder={"g": "10", **({"bf": "0"} if codec == "libx264" else {})},
    )


def cut(content, share):
    """The front of a file."""
    return content[: int(len(content) * share) | 1]


def holed(content, kind):
    """A file whose middle is ``zeros``, ``noise``, or ``gone``."""
    start, length = len(content) // 2, len(content) // 6
    hole = {
        "zeros": bytes(length),
        "noise": np.random.default_rng(0).bytes(length),
        "gone": b"",
    }[kind]
    return content[:start] + hole + content[start + length :]
