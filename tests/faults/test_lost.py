"""What was there stays, what is half-written says so, and what is cut is not whole."""

import io
import os
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest

from support.clips import BROADCAST, FORMS, cut, holed, make_clip
from support.faults import Fault

PRECIOUS = b"precious"


def run(source, *arguments):
    return ("derain-run", "b", "--source", source, *arguments)


@pytest.fixture(scope="session")
def clips(tmp_path_factory, make_video):
    """The bytes of a clip, by its suffix."""
    folder, known = tmp_path_factory.mktemp("clips"), {}

    def clip(suffix):
        if suffix not in known:
            path = make_clip(make_video, folder / f"in{suffix}")
            known[suffix] = path.read_bytes()
        return known[suffix]

    return clip


CUTS = [
    (suffix, what)
    for suffix in sorted(FORMS)
    for what in ("short", "shorter", "zeros", "noise", "gone")
    if what.startswith("short") or suffix not in (*BROADCAST, ".mp4")
]


@pytest.mark.parametrize(("suffix", "what"), CUTS, ids=map("-".join, CUTS))
@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_a_clip_that_is_not_whole_is_no_whole_result(place, clips, suffix, what, force):
    shares = {"short": 0.77, "shorter": 0.501}
    content = clips(suffix)
    damaged = cut(content, shares[what]) if what in shares else holed(content, what)
    no_frame = suffix == ".mp4"  # its index was at its end
    Fault(
        name=f"{suffix}-{what}",
        run=run(f"f{suffix}", "--sink", "o.mp4", *["--force"] * force),
        says="or is cut short" if no_frame else "damaged or cut short after frame",
        given={f"f{suffix}": damaged, **({"o.mp4": PRECIOUS} if force else {})},
        left=() if no_frame else ("o.partial.mp4",),
    ).check(place)


@pytest.mark.parametrize("missing", [1, 700, 4613])
def test_a_pipe_that_ends_within_a_frame(place, clips, missing):
    Fault(
        name=f"pipe-{missing}",
        run=run("-", "--sink", "o.mp4"),
        says="its last frame is cut short, by .* kept in o.partial.mp4",
        stdin=clips(".y4m")[:-missing],
        left=("o.partial.mp4",),
        process=True,
    ).check(place)


def png(width, height):
    """The header of a picture of that size, and nothing of it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ending = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + ending


def claims(suffix, width, height):
    """A small picture whose header claims that size."""
    content = bytearray(cv2.imencode(suffix, np.zeros((48, 64, 3), np.uint8))[1])
    if suffix == ".bmp":
        content[18:26] = struct.pack("<ii", width, height)
    elif suffix == ".jpg":
        place = content.index(struct.pack(">HH", 48, 64))
        content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def zipped(parts, method=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return content.getvalue()


# A pickle of lists in lists: each level holds the one before it twice.
DOUBLED = b"\x80\x02]q\x00" + b"".join(
    b"]q" + bytes([k + 1]) + b"(h" + bytes([k]) + b"h" + bytes([k]) + b"e"
    for k in range(60)
)
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
BAD_ZIP = bytearray(zipped({"a/data.pkl": b"\x80\x02}.", "a/data/0": b"1234"}))
BAD_ZIP[BAD_ZIP.index(b"1234")] ^= 1

WEIGHTS = {
    "packed": (
        zipped({"a/data.pkl": bytes(10**7)}, zipfile.ZIP_DEFLATED),
        "holds compressed parts",
    ),
    "doubled": (zipped({"a/data.pkl": DOUBLED + b"."}), "holds more than 3 000 000"),
    "doubled-legacy": (LEGACY + DOUBLED + b".", "holds more than 3 000 000 objects"),
    "checksum": (bytes(BAD_ZIP), "is damaged: the checksum of 'a/data/0' is wrong"),
}


def _others_weights(path):
    """A whole checkpoint, of another network."""
    torch = pytest.importorskip("torch", reason="checkpoints need derain[export]")
    torch.save({"conv.weight": torch.zeros(3, 3, 3, 3)}, path)


EXPORT = ("derain-export", "--model", "qsnet", "--random-weights", "--size", "32x32")
EVAL = ("derain-eval", "--bundle", "b", "--pairs", "pairs", "--worst")
TRAIN = ("derain-train", "--model", "qsnet", "--pairs", "pairs", "--steps", "1", "-o")
LINK = {
    "device": lambda path: path.symlink_to(os.devnull),
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
}

FAULTS = [
    *(
        Fault(
            name=f"exists-{name}",
            run=run("in.png", "--sink", name),
            says=f"{name} exists; use --force",
            given={name: content},
        )
        for name in ("o.png", "o.jpg", "o.webp", "o.tiff", "o.mp4", "o.mov", "o.mkv")
        for content in (PRECIOUS,)
    ),
    *(
        Fault(
            name=f"link-{name}",
            run=run("in.png", "--sink", name),
            says=f"{name} exists; use --force",
            given={name: lambda path: path.symlink_to("nowhere")},
        )
        for name in ("o.png", "o.mp4")
    ),
    *(
        Fault(
            name=f"no-file-{kind}-{name}",
            run=run("in.png", "--sink", name, "--force"),
            says=f"{name} is a (device or a pipe|folder)|{name}.*holds",
            given={name: make},
        )
        for kind, make in LINK.items()
        for name in ("o.png", "o.mp4", "o.mkv")
        if (kind, name) not in {("folder", n) for n in ("o.png", "o.mp4", "o.mkv")}
    ),
    *(
        Fault(
            name=f"one-place-{k}",
            run=run("in.png", "--sink", first, "--sink", second, "--force"),
            says="is the same place as",
            given={
                "o.png": PRECIOUS,
                "l.png": lambda path: path.hardlink_to(path.with_name("o.png")),
            },
        )
        for k, (first, second) in enumerate(
            (
                ("o.mp4", "./o.mp4"),
                ("o.mp4", "o.mp4?codec=hevc"),
                ("o.png", "l.png"),
                ("new", "new/"),
                ("-", "-"),
            )
        )
    ),
    *(
        Fault(
            name=f"mixed-sizes-{suffix}",
            run=run("pictures", "--sink", f"o{suffix}", "--force"),
            says="is 80x60",
            given={
                "pictures/0.png": bytes(cv2.imencode(".png", np.zeros((48, 64, 3)))[1]),
                "pictures/1.png": bytes(cv2.imencode(".png", np.zeros((60, 80, 3)))[1]),
                f"o{suffix}": PRECIOUS,
            },
            left=(f"o.partial{suffix}",),
        )
        for suffix in (".mp4", ".mov", ".mkv")
    ),
    Fault(
        name="source-is-sink",
        run=run("in.png", "--sink", "in.png", "--force"),
        says="is a file of the source",
    ),
    Fault(
        name="picture-of-900-megapixels",
        run=run("f.png", "--sink", "o.png"),
        says=r"f\.png claims 30000x30000 pixels; at most 134 megapixels",
        given={"f.png": png(30_000, 30_000)},
    ),
    *(
        Fault(
            name=f"large-claim{suffix}",
            run=run(f"f{suffix}", "--sink", "o.png"),
            says="claims 30000x30000 pixels",
            given={f"f{suffix}": claims(suffix, 30_000, 30_000)},
        )
        for suffix in (".bmp", ".jpg")
    ),
    Fault(
        name="large-claim-of-a-pair",
        run=("derain-eval", "--bundle", "b", "--pairs", "pairs"),
        says="claims 30000x30000 pixels",
        given={"pairs/0.png": png(30_000, 30_000)},
    ),
    *(
        Fault(
            name=f"weights-{name}",
            run=(*EXPORT[:3], "--size", "32x32", "--weights", "f.pth", "-o", "out"),
            says=says,
            given={"f.pth": content},
        )
        for name, (content, says) in WEIGHTS.items()
    ),
    *(
        Fault(
            name=f"export-over-{name}",
            run=(*EXPORT, "-o", "out", "--force"),
            says=says,
            given=given,
        )
        for name, given, says in (
            (
                "a-web-site",
                {"out/manifest.json": '{"name": "app"}', "out/index.html": "x"},
                "out exists and is not a bundle",
            ),
            ("a-folder", {"out/notes.txt": PRECIOUS}, "out exists and is not a bundle"),
            ("a-file", {"out": PRECIOUS}, "out exists and is not a bundle"),
            ("a-fifo", {"out": os.mkfifo}, "out exists and is not a bundle"),
        )
    ),
    Fault(
        name="export-over-notes-in-a-bundle",
        run=(*EXPORT, "-o", "b", "--force"),
        says="b holds more than its bundle: 'notes.txt'",
        given={"b/notes.txt": PRECIOUS},
    ),
    Fault(
        name="export-over-a-bundle",
        run=(*EXPORT, "-o", "b"),
        says="b exists; replace it with --force",
    ),
    Fault(
        name="export-below-a-file",
        run=(*EXPORT, "-o", "in.png/out"),
        says=r"in\.png/out cannot be written: .*in\.png is no folder",
    ),
    Fault(
        name="worst-exists",
        run=(*EVAL, "in.png"),
        says=r"--worst in\.png exists; replace it with --force",
    ),
    *(
        Fault(
            name=f"worst-over-a-{kind}",
            run=(*EVAL, "w.png", "--force"),
            says=r"--worst w\.png is no file, and is not replaced",
            given={"w.png": make},
        )
        for kind, make in LINK.items()
    ),
    Fault(name="worst-no-picture", run=(*EVAL, "w.doc"), says=r"w\.doc is no picture"),
    Fault(
        name="worst-nowhere",
        run=(*EVAL, "in.png/w.png"),
        says=r"w\.png cannot be written: .*in\.png is no folder",
    ),
    *(
        Fault(name=f"exists-{'-'.join(run[:2])}", run=run, says=says, given=given)
        for run, says, given in (
            (
                ("derain-train", "look", "pairs", "-o", "in.png"),
                r"in\.png exists; replace it with --force",
                {},
            ),
            (
                ("derain-train", "pack", "--pairs", "pairs", "-o", "in.png"),
                r"in\.png exists; replace it with --force",
                {},
            ),
            (
                ("derain-bench", "--bundle", "b", "--plots", "in.png"),
                r"in\.png is no folder; name another one for the plots",
                {},
            ),
            (
                ("derain-bench", "--bundle", "b", "--plots", "/proc"),
                "/proc/plot.png cannot be written",
                {},
            ),
            (
                ("derain-bench", "--bundle", "b", "--plots", "old"),
                "old holds pictures; name another folder",
                {"old/speed.png": PRECIOUS},
            ),
            (
                ("derain-train", "look", "pairs", "-o", "l.png", "--force"),
                "l.png cannot be written: something that is no file is there",
                {"l.png": os.mkfifo},
            ),
        )
    ),
    Fault(
        name="pack-of-nothing",
        run=("derain-train", "pack", "-o", "new.zip"),
        status=2,
        says="give --pairs, --clean or both",
    ),
    Fault(
        name="report-is-output",
        run=(
            *("derain-calibrate", "b", "--source", "pairs", "-o", "c"),
            *("--report", "c"),
        ),
        says="--report and --output are both c",
    ),
    *(
        Fault(
            name=f"train-with-weights-{name}",
            run=(*TRAIN, "new/run", "--crop", "32", "--weights", "f.pth"),
            says=r"f\.pth",
            given={"f.pth": content},
        )
        for name, content in (
            ("missing", lambda path: None),
            ("of-nothing", b""),
            ("of-others", _others_weights),
            *((kind, content) for kind, (content, _) in WEIGHTS.items()),
        )
    ),
    *(
        Fault(
            name=f"train-into-{name}",
            run=(*TRAIN, "run"),
            says="choose another --output|holds no training run",
            given={f"run/{name}": PRECIOUS},
        )
        for name in ("config.json", "log.jsonl", "notes.txt", "state.pt")
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_nothing_is_lost(fault, place):
    fault.check(place)
