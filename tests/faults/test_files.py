"""Files that are not what their name says, for every command that reads some."""

import os

import pytest

from support.faults import Fault, sparse

LONG = "n" * 300  # names end at 255 bytes

BAD = {
    "missing": None,
    "empty": b"",
    "words": b"no such thing\n",
    "zeros": bytes(4096),
    "folder": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "hole": sparse(20 * 10**9),
}
_FINE = (("bundle", "folder"), ("pair", "missing"), ("config", "empty"))
# Where a file may stand: the command, the file's name, its line.
READERS = {
    "config": (("derain-run", "--config", "f.toml"), "f.toml", r"f\.toml"),
    "picture": (
        ("derain-run", "b", "--source", "f.png", "--sink", "o.png"),
        "f.png",
        r"f\.png",
    ),
    "video": (
        ("derain-run", "b", "--source", "f.mp4", "--sink", "o.mp4"),
        "f.mp4",
        r"f\.mp4",
    ),
    "manifest": (
        ("derain-run", "b", "--source", "in.png", "--sink", "o.png"),
        "b/manifest.json",
        r"b\b",
    ),
    "model": (
        ("derain-run", "b", "--source", "in.png", "--sink", "o.png"),
        "b/model.onnx",
        r"b is damaged: model\.onnx",
    ),
    "golden": (
        ("derain-run", "b", "--source", "in.png", "--sink", "o.png"),
        "b/golden-input.png",
        r"b is damaged: golden-input\.png",
    ),
    "bundle": (
        ("derain-run", "f", "--source", "in.png", "--sink", "o.png"),
        "f",
        r"f is not a bundle",
    ),
    "weights": (
        ("derain-export", "--model", "qsnet", "--weights", "f.pth", "-o", "out"),
        "f.pth",
        r"f\.pth",
    ),
    "safetensors": (
        ("derain-export", "--model", "qsnet", "--weights", "f.safetensors"),
        "f.safetensors",
        r"f\.safetensors",
    ),
    "pair": (
        ("derain-eval", "--bundle", "b", "--pairs", "pairs"),
        "pairs/0.png",
        r"pairs|0\.png",
    ),
    "record": (("derain-bench", "compare", "f.json", "f.json"), "f.json", r"f\.json"),
    "queue": (("derain-train", "queue", "f.toml"), "f.toml", r"f\.toml"),
}


def _removed(path):
    """Nothing: what was there is gone."""


def _faults():
    for reader, (run, file, says) in READERS.items():
        for kind, content in BAD.items():
            if (reader, kind) in _FINE:
                continue
            yield Fault(
                name=f"{reader}-{kind}",
                run=run,
                given={file: _removed if content is None else content},
                says=says,
            )


FAULTS = [
    *_faults(),
    *(
        Fault(name=f"long-{what}", run=run, says=says)
        for what, run, says in (
            ("config", ("derain-run", "--config", LONG), "nnn"),
            (
                "bundle",
                ("derain-run", LONG, "--source", "in.png", "--sink", "o.png"),
                "nn",
            ),
            ("source", ("derain-run", "b", "--source", LONG, "--sink", "o.png"), "nn"),
            (
                "picture",
                ("derain-run", "b", "--source", f"{LONG}.png", "--sink", "o.png"),
                "nn",
            ),
            (
                "video",
                ("derain-run", "b", "--source", f"{LONG}.mp4", "--sink", "o.png"),
                "nn",
            ),
            (
                "glob",
                ("derain-run", "b", "--source", f"{LONG}*", "--sink", "o.png"),
                "nn",
            ),
            ("sink", ("derain-run", "b", "--source", "in.png", "--sink", LONG), "nn"),
            (
                "sink-picture",
                ("derain-run", "b", "--source", "in.png", "--sink", f"{LONG}.png"),
                "nn",
            ),
            (
                "sink-video",
                ("derain-run", "b", "--source", "in.png", "--sink", f"{LONG}.mp4"),
                "nn",
            ),
            ("weights", ("derain-export", "--model", "qsnet", "--weights", LONG), "nn"),
            (
                "output",
                ("derain-export", "--model", "qsnet", "--size", "32x32", "-o", LONG),
                "nn",
            ),
            (
                "keep-graphs",
                (
                    "derain-export",
                    "--model",
                    "qsnet",
                    "--size",
                    "32x32",
                    "--keep-graphs",
                    LONG,
                ),
                "nn",
            ),
            (
                "calibration",
                ("derain-export", "--model", "qsnet", "--int8", "--calibration", LONG),
                "nn",
            ),
            ("compile", ("derain-compile", LONG), "nn"),
            ("check", ("derain-compile", "--check", LONG), "nn"),
            (
                "calibrate-bundle",
                ("derain-calibrate", LONG, "--source", "in.png", "-o", "c.json"),
                "nn",
            ),
            ("pairs", ("derain-eval", "--bundle", "b", "--pairs", LONG), "nn"),
            (
                "eval-bundle",
                ("derain-eval", "--bundle", LONG, "--pairs", "pairs"),
                "nn",
            ),
            (
                "worst",
                (
                    "derain-eval",
                    "--bundle",
                    "b",
                    "--pairs",
                    "pairs",
                    "--worst",
                    f"{LONG}.png",
                ),
                "nn",
            ),
            ("record", ("derain-bench", "compare", LONG, LONG), "nn"),
            ("bench", ("derain-bench", "--bundle", LONG), "nn"),
            ("bench-output", ("derain-bench", "--bundle", "b", "-o", LONG), "nn"),
            ("bytes", ("derain-bench", "bytes", LONG), "nn"),
            (
                "train-pairs",
                ("derain-train", "--model", "qsnet", "--pairs", LONG, "--steps", "1"),
                "nn",
            ),
            (
                "train-output",
                (
                    "derain-train",
                    "--model",
                    "qsnet",
                    "--pairs",
                    "pairs",
                    "--steps",
                    "1",
                    "-o",
                    LONG,
                ),
                "nn",
            ),
            ("queue", ("derain-train", "queue", LONG), "nn"),
            (
                "publish",
                (
                    "derain-train",
                    "publish",
                    LONG,
                    "--test",
                    "pairs",
                    "--video",
                    "pairs",
                    "--trained-on",
                    "x",
                ),
                "nn",
            ),
            ("look", ("derain-train", "look", LONG), "nn"),
            ("pack", ("derain-train", "pack", "--pairs", LONG), "nn"),
        )
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_file_is_told_in_one_line(fault, place):
    fault.check(place)
