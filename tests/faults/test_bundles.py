"""Bundles whose manifest says something else, a field at a time."""

import json

import pytest

from support.faults import Fault

RUN = ("derain-run", "b", "--source", "in.png", "--sink", "o.png")
GONE = object()

# A field of the manifest, with a dot between its parts; what it says; what is told.
FIELDS = [
    *(
        (name, GONE, f"no field '{name.rpartition('.')[2]}'")
        for name in (
            *("schema", "model", "precision", "target", "sizes", "golden", "files"),
            *("sizes.minimum", "sizes.optimum", "sizes.maximum"),
            *("golden.input", "golden.output", "golden.min_psnr_db"),
        )
    ),
    ("schema", 99, "schema 99"),
    ("schema", "1", "schema"),
    ("schema", None, "schema"),
    ("schema", True, "schema"),
    ("schema", 10**40, "schema"),
    ("model", 7, "model"),
    ("model", ["qsnet"], "model"),
    ("model", None, "model"),
    ("precision", "fp8", "precision"),
    ("precision", ["fp32"], "precision"),
    ("precision", None, "precision"),
    ("target", "moon", "target"),
    ("target", {}, "target"),
    ("sizes", "64x48", "sizes"),
    ("sizes", [], "sizes"),
    ("sizes.minimum", "0x0", "size|at least 1"),
    ("sizes.minimum", "-1x5", "size"),
    ("sizes.minimum", 64, "size"),
    ("sizes.minimum", None, "size"),
    ("sizes.minimum", "99999x99999", "MIN over OPT to MAX"),
    ("sizes.optimum", "٦٤x٤٨", "size"),
    ("sizes.maximum", "1e3x1e3", "size"),
    ("sizes.maximum", "1x1", "MIN over OPT to MAX"),
    ("golden", None, "golden"),
    ("golden", [], "golden"),
    ("golden.input", "../in.png", r"no hash for|leaves the bundle"),
    ("golden.input", 5, "no hash for 5"),
    ("golden.input", "model.onnx", "model.onnx is not a picture|golden"),
    ("golden.output", "no.png", "no hash for no.png"),
    ("golden.min_psnr_db", "many", "min_psnr_db"),
    ("golden.min_psnr_db", -1, "min_psnr_db"),
    ("golden.min_psnr_db", 0, "min_psnr_db"),
    ("golden.min_psnr_db", float("nan"), "min_psnr_db"),
    ("golden.min_psnr_db", float("inf"), "min_psnr_db"),
    ("golden.min_psnr_db", 10**400, "min_psnr_db"),
    ("golden.min_psnr_db", None, "min_psnr_db"),
    ("golden.min_psnr_db", [50], "min_psnr_db"),
    ("files", [], "files|no hash"),
    ("files", {}, "no hash for"),
    ("files", None, "files"),
    ("files", "model.onnx", "files"),
    ("files.model.onnx", GONE, "no hash for model.onnx"),
    ("files.model.onnx", "0" * 64, "model.onnx has changed"),
    ("files.model.onnx", 5, "model.onnx has changed"),
    ("files.../in.png", "0" * 64, "leaves the bundle"),
    ("files./etc/passwd", "0" * 64, "leaves the bundle"),
    ("files.no.bin", "0" * 64, "no.bin is missing"),
    ("files.a\0b", "0" * 64, "a.*b"),
    ("files.\ud800", "0" * 64, "d800"),
    (f"files.{'n' * 300}", "0" * 64, "nnn"),
    ("network", [], "network"),
    ("network", "rgb", "network"),
    ("network.multiple_of", "four", "multiple_of"),
    ("network.multiple_of", 0, "multiple_of"),
    ("network.multiple_of", -4, "multiple_of"),
    ("network.multiple_of", 1e400, "multiple_of"),
    ("network.multiple_of", 10**30, "multiple_of"),
    ("network.minimum", None, "minimum"),
    ("network.minimum", 0, "minimum"),
    ("states", 5, "states"),
    ("states", ["x"], "a state"),
    ("states", [{}], "a state|field"),
    ("look_ahead", 1, "look_ahead"),
    ("look_ahead", -1, "look_ahead"),
    ("look_ahead", "many", "look_ahead"),
    ("look_ahead", 10**30, "look_ahead"),
    ("engines", 5, "engines"),
    ("fp32_nodes", 5, "fp32_nodes"),
    ("weights", 5, "weights"),
    ("operators", [5], "operators"),
    ("passes", "all", "passes"),
    ("verification", [], "verification"),
    ("tools", 3, "tools"),
    ("created", 3, "created"),
]
TEXTS = {
    "no-json": "{",
    "a-list": "[]",
    "a-number": "5",
    "nothing": "null",
    "deep": "[" * 100_000,
    "deep-value": '{"schema": 1, "model": ' + "[" * 5000 + "]" * 5000 + "}",
    "long-integer": '{"schema": ' + "9" * 5000 + "}",
    "not-utf-8": b'{"schema": "\xff"}',
    "byte-order-mark": b"\xff\xfe{\0}\0",
    "escape": '{"schema": "\\u001b[31mred"}',
}


def _with(name, value):
    """A function that writes the manifest at a path anew with a field changed."""

    def make(path):
        manifest = json.loads(GOOD[path.parent.name])
        where, *rest = name.split(".", 1)
        table = manifest[where] if rest else manifest
        key = rest[0] if rest else where
        if value is GONE:
            del table[key]
        else:
            table[key] = value
        path.write_text(json.dumps(manifest))

    return make


GOOD = {}


def _name(name, value):
    what = "gone" if value is GONE else ascii(value)[:20]
    return f"{ascii(name)[1:21]}-{what}"


FAULTS = [
    *(
        Fault(
            name=f"{number}-{_name(name, value)}",
            run=RUN,
            given={"b/manifest.json": _with(name, value)},
            says=says,
        )
        for number, (name, value, says) in enumerate(FIELDS)
    ),
    *(
        Fault(name=name, run=RUN, given={"b/manifest.json": text}, says="manifest.json")
        for name, text in TEXTS.items()
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_bad_bundle_is_refused(fault, place):
    GOOD["b"] = (place / "b" / "manifest.json").read_bytes()
    fault.check(place)
