"""What is wrong with a batch before its first clip, and with a model for Triton."""

import os

import pytest

from support.faults import Fault

LONG = "n" * 300  # names end at 255 bytes
PRECIOUS = "precious"


def batch(*words, output="out"):
    return ("derain-batch", "b", "--source", "pairs/0.png", "--output", output, *words)


def triton(*words):
    return ("derain-triton", "b", "--repository", "r", *words)


OURS = {"r/m/config.pbtxt": "# the bundle's sha256: derain_onnx_sha256\n"}
FAULTS = [
    Fault(
        name="batch-no-bundle",
        run=("derain-batch", "no", "--source", "in.png", "--output", "out"),
        says="no is not a bundle",
    ),
    *(
        Fault(
            name=f"batch-source-{name}",
            run=("derain-batch", "b", "--source", source, "--output", "out"),
            says="does not exist|neither a video nor|cannot be opened|matches no clip",
        )
        for name, source in (
            ("missing", "no.mp4"),
            ("long", LONG),
            ("nul", "a\0b"),
            ("surrogate", "\udcff"),
            ("pattern", "no*"),
            ("bracket", "["),
            ("protocol", "nosuch://x"),
            ("text", "b/manifest.json"),
        )
    ),
    *(
        Fault(
            name=f"batch-output-{name}",
            run=batch(output=output),
            says="--output .* cannot be written: .*; choose another",
        )
        for name, output in (
            ("a-file", "in.png"),
            ("below-a-file", "in.png/out"),
            ("long", LONG),
            ("nul", "a\0b"),
            ("device", "/dev/null"),
            ("proc", "/proc/out"),
        )
    ),
    *(
        Fault(
            name=f"batch-report-{name}",
            run=batch("--report", report),
            given=given,
            says="--report .* (cannot be written|is no report of derain-batch)|NUL",
        )
        for name, report, given in (
            ("below-a-file", "in.png/r.json", {}),
            ("a-picture", "in.png", {}),
            ("a-list", "r.json", {"r.json": "[]"}),
            ("other-json", "r.json", {"r.json": "{}"}),
            ("deep", "r.json", {"r.json": "[" * 100_000}),
            ("fifo", "r.json", {"r.json": os.mkfifo}),
            ("device", "r", {"r": lambda path: path.symlink_to("/dev/zero")}),
            ("long", LONG, {}),
            ("nul", "a\0b", {}),
        )
    ),
    Fault(name="batch-address", run=batch("--address", "\0"), says="HOST:PORT"),
    *(
        Fault(
            name=f"triton-repository-{name}",
            run=("derain-triton", "b", "--repository", folder),
            status=status,
            says=says,
        )
        for name, folder, status, says in (
            ("a-file", "in.png", 2, "is a file"),
            ("below-a-file", "in.png/r", 1, "cannot be written: .*is no folder"),
            ("long", LONG, 1, "cannot be written: File name too long"),
            ("nul", "a\0b", 1, "holds a NUL"),
            ("proc", "/proc/r", 1, "cannot be written"),
            ("empty", "", 2, "--repository.*wanted a name, got none"),
        )
    ),
    *(
        Fault(name=f"triton-name-{k}", run=triton("--name", name), says="is no name of")
        for k, name in enumerate(("", "../x", "a b", ".x", "a/b", "a\n", "a\0"))
    ),
    Fault(
        name="triton-name-long", run=triton("--name", LONG), says="File name too long"
    ),
    Fault(name="triton-engine", run=triton("--engine"), says="has no engine; run: d"),
    Fault(
        name="triton-no-bundle",
        run=("derain-triton", "in.png", "--repository", "r"),
        says="in.png is not a bundle",
    ),
    *(
        Fault(
            name=f"triton-over-{name}",
            run=triton("--name", "m", "--force"),
            given=given,
            says=says,
        )
        for name, given, says in (
            ("a-file", {"r/m": PRECIOUS}, "was not made by derain-triton"),
            ("others", {"r/m/config.pbtxt": PRECIOUS}, "was not made by derain-tr"),
            ("bytes", {"r/m/config.pbtxt": b"\xff"}, "was not made by derain-triton"),
            ("fifo", {"r/m/config.pbtxt": os.mkfifo}, "was not made by derain-triton"),
            ("notes", {**OURS, "r/m/notes": PRECIOUS}, "holds more than .*: 'notes'"),
            ("versions", {**OURS, "r/m/2/x": PRECIOUS}, "holds more than .*: '2'"),
        )
    ),
    *(
        Fault(name=f"empty-name-{k}", run=run, status=2, says="wanted a name, got none")
        for k, run in enumerate(
            (
                ("derain-export", "--model", "qsnet", "-o", ""),
                ("derain-compile", ""),
                ("derain-bench", "--bundle", ""),
                ("derain-bench", "bytes", "b", ""),
                ("derain-calibrate", "", "--source", "in.png", "-o", "c.json"),
                ("derain-train", "look", ""),
            )
        )
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_batch_or_model_is_told_in_one_line(fault, place):
    if fault.name.startswith("batch"):
        pytest.importorskip("ray", reason="needs derain[batch]")
        pytest.importorskip("fsspec", reason="needs derain[batch]")
    if fault.name.startswith("triton"):
        pytest.importorskip("tritonclient", reason="needs derain[triton]")
    fault.check(place)
