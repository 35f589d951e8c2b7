"""INT8 that moves more than FP16 says so in one line."""

import json
from pathlib import Path

import pytest

from derain.core.manifest import FILE_NAME, Golden, Manifest
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt.int8_bytes import (
    MEASURED,
    Int8Bytes,
    compared,
    int8_bytes,
    known_bytes,
)

SIZE = Size(1280, 720)


def manifest_of(precision, verification):
    return Manifest(
        model="treefusion",
        precision=precision,
        target="tensorrt",
        sizes=SizeRange.static(SIZE),
        golden=Golden(inputs=("i.png",), outputs=("o.png",), min_psnr_db=40.0),
        files={},
        verification=verification,
    )


def test_more_bytes_are_one_line_with_both_numbers():
    line = compared(300_000_000, 200_000_000, SIZE, "1.7.1").warning()
    assert "INT8 moves 300 MB for a frame of 1280x720, FP16 200 MB" in line
    assert "compiled with TensorRT-RTX 1.7.1): 1.5 times" in line
    assert "\n" not in line


def test_fewer_bytes_say_nothing():
    assert compared(200, 200, SIZE, "1.7.1").warning() == ""


def test_the_table_grows_with_the_frame():
    fp16, int8 = MEASURED["treefusion"]
    known = known_bytes("treefusion", Size(640, 360))
    assert (known.fp16, known.int8) == (250_000 * fp16, 250_000 * int8)
    assert "as measured with TensorRT-RTX 1.7.1 at 1280x720" in known.warning()
    assert known_bytes("another", SIZE) is None


def test_every_network_of_the_record_that_moves_more_is_warned_of():
    (path,) = (Path(__file__).parents[3] / "benchmarks/results/bytes").glob("*.json")
    record = json.loads(path.read_text())
    size, seen = Size.parse(record["size"]), []
    for name, entry in record["networks"].items():
        fp16, int8 = (
            entry["targets"]["tensorrt"].get(precision, {}).get("gigabytes")
            for precision in ("fp16", "int8")
        )
        if fp16 is None or int8 is None:
            continue
        known = known_bytes(name, size)
        assert known is not None, name
        assert known.fp16 / 1e9 == pytest.approx(fp16, abs=6e-4), name
        assert known.int8 / 1e9 == pytest.approx(int8, abs=6e-4), name
        assert ("INT8 moves" in known.warning()) == (int8 > fp16), name
        seen.append(name)
    assert {"qsnet", "treefusion", "stagewise", "granet", "nledn"} <= set(seen)


@pytest.mark.parametrize(
    "damage", [{"int8": "many"}, {"size": "large"}, {"fp16": None}]
)
def test_the_manifest_is_believed_unless_it_is_damaged(damage):
    said = Int8Bytes(3_000_000, 2_000_000, SIZE, "compiled")
    fields = said.to_json()
    manifest = manifest_of("int8", {"int8": {"moved_bytes": fields}})
    assert int8_bytes(manifest) == said
    wrong = manifest_of("int8", {"int8": {"moved_bytes": fields | damage}})
    assert int8_bytes(wrong) is None


def test_only_int8_is_compared():
    assert int8_bytes(manifest_of("fp16", {})) is None
    assert int8_bytes(manifest_of("int8", {})) == known_bytes("treefusion", SIZE)


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("int8", [3_000_000, 1_000_000])
def test_the_compiler_says_it_and_still_obeys(make_bundle, compile_command, int8):
    folder = make_bundle("int8", precision="int8")
    path = folder / FILE_NAME
    fields = json.loads(path.read_text())
    said = Int8Bytes(int8, 2_000_000, SIZE, "compiled").to_json()
    fields["verification"] = {"int8": {"moved_bytes": said}}
    path.write_text(json.dumps(fields))
    result = compile_command(folder)
    assert result.returncode == 0, result.stderr
    lines = [x for x in result.stderr.splitlines() if "INT8 moves 3 MB" in x]
    assert len(lines) == (int8 > 2_000_000)
    assert list(folder.glob("*.plan"))
