"""Whether an engine may be loaded here, decided from its record and its hash."""

import dataclasses
import hashlib
import json

import pytest

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import EngineError
from derain.core.manifest import FILE_NAME
from derain.core.sizes import Size, SizeRange
from derain.runtime.tensorrt.engine_fit import read_plan
from derain.runtime.tensorrt.engine_record import EngineRecord

PLAN = b"plan"


@pytest.fixture
def bundle(make_bundle, make_record):
    """Makes an opened bundle that holds these engines, each with the plan `PLAN`."""

    def make(*changes):
        folder = make_bundle()
        model = Bundle.open(folder).manifest.files[MODEL_FILE]
        records = []
        for change in changes:
            record = make_record(
                **{
                    "sha256": hashlib.sha256(PLAN).hexdigest(),
                    "onnx_sha256": model,
                    **change,
                }
            )
            (folder / record.file).write_bytes(PLAN)
            records.append(record.to_json())
        manifest = json.loads((folder / FILE_NAME).read_text())
        manifest["engines"] = records
        (folder / FILE_NAME).write_text(json.dumps(manifest))
        return Bundle.open(folder)

    return make


def read(bundle, device, version="10.3.0", size=None, backend="tensorrt"):
    return read_plan(bundle, backend, version, device, size)


def test_record_survives_json(make_record):
    record = make_record(notes=("a", "b"), layers={"fp16": 3}, options={"x": 1})
    assert EngineRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_the_engine_that_fits_is_read(bundle, device):
    record, plan = read(bundle({}), device, size=Size(64, 48))
    assert plan == PLAN
    assert record.gpu == "Orin"


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26"])
def test_the_build_number_does_not_matter(bundle, device, version):
    assert read(bundle({}), device, version)[1] == PLAN


def test_of_several_that_fit_the_newest_is_read(bundle, device):
    opened = bundle({"seconds": 1.0}, {"seconds": 2.0, "file": "b.plan"})
    assert read(opened, device)[0].seconds == 2.0


def test_one_that_fits_is_found_among_others(bundle, device):
    others = [
        {"version": "10.4.0", "file": "a.plan"},
        {"file": "b.plan"},
        {"gpu": "AGX", "file": "c.plan"},
        {"sizes": SizeRange.parse("9x9"), "file": "d.plan"},
    ]
    assert read(bundle(*others), device, size=Size(64, 48))[0].file == "b.plan"


@pytest.mark.parametrize(
    ("change", "built_for"),
    [
        ({"version": "10.4.0"}, r"tensorrt 10\.4\.0, Orin \(8\.7\)"),
        ({"version": "10.3.1"}, r"tensorrt 10\.3\.1"),
        ({"gpu": "Orin Nano"}, r"Orin Nano \(8\.7\)"),
        ({"compute_capabilities": ("8.9",)}, r"Orin \(8\.9\)"),
        ({"multiprocessors": 16}, r"Orin \(8\.7\), 16 multiprocessors, "),
        ({"platform": "linux-riscv"}, "linux-riscv"),
    ],
    ids=["version", "patch", "gpu", "compute capability", "an AGX", "platform"],
)
def test_another_machine_is_refused_in_one_line(bundle, device, change, built_for):
    opened = bundle(change)
    with pytest.raises(EngineError, match=f"built for .*{built_for}.*this is") as error:
        read(opened, device)
    text = str(error.value)
    assert text.endswith(f"; run: derain-compile {opened.folder} --backend tensorrt")
    assert "this is tensorrt 10.3.0, Orin (8.7), 8 multiprocessors, " in text
    assert "\n" not in text


def test_an_engine_of_another_model_is_refused(bundle, device):
    opened = bundle({"onnx_sha256": "2" * 64})
    with pytest.raises(EngineError, match=r"built from another model\.onnx .*run: "):
        read(opened, device)


def test_frames_of_another_size_are_refused(bundle, device):
    with pytest.raises(EngineError, match="for frames of 64x48, this is 640x480; run"):
        read(bundle({}), device, size=Size(640, 480))


def test_no_engine_of_this_backend(bundle, device):
    with pytest.raises(EngineError, match="has no tensorrt-rtx engine; run: derain-c"):
        read(bundle({}), device, backend="tensorrt-rtx")


@pytest.mark.parametrize(
    ("version", "fits"),
    [("10.3.0", True), ("10.16.1", True), ("10.2.0", False), ("11.0.0", False)],
)
def test_version_compatible_engines_run_on_later_minor_versions(
    bundle, device, version, fits
):
    opened = bundle({"version_compatible": True})
    if fits:
        assert read(opened, device, version)[1] == PLAN
    else:
        with pytest.raises(EngineError, match=r"built for tensorrt 10\.3\.0"):
            read(opened, device, version)


@pytest.mark.parametrize(
    ("capability", "fits"), [("8.0", True), ("12.0", True), ("7.5", False)]
)
def test_hardware_compatible_engines_run_on_ampere_and_later(
    bundle, device, capability, fits
):
    opened = bundle({"hardware_compatible": True})
    here = dataclasses.replace(device, name="another", compute_capability=capability)
    if fits:
        assert read(opened, here)[1] == PLAN
    else:
        with pytest.raises(EngineError, match=r"built for .*GPUs since Ampere"):
            read(opened, here)


def test_a_record_of_before_multiprocessors_were_kept_is_believed(bundle, device):
    assert read(bundle({"multiprocessors": None}), device)[1] == PLAN


def test_tensorrt_rtx_asks_for_the_compute_capability_alone(bundle, device):
    change = {"backend": "tensorrt-rtx", "gpu": None}
    opened = bundle({**change, "compute_capabilities": ("8.6", "8.7")})
    assert read(opened, device, backend="tensorrt-rtx")[1] == PLAN


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"plaN", "has changed since it was built"),
        (b"pla", "has 3 bytes, was built with 4"),
        (None, "cannot be read: No such file"),
    ],
    ids=["a changed byte", "truncated", "missing"],
)
def test_a_damaged_plan_is_refused(bundle, device, content, why):
    opened = bundle({})
    path = opened.folder / opened.manifest.engines[0]["file"]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(EngineError, match=f"{why}.*; run: derain-compile"):
        read(opened, device)


@pytest.mark.parametrize(
    "damage",
    [{"file": "../../etc/passwd"}, {"sizes": "x"}, {"backend": "x"}, {"bytes": None}],
    ids=["path", "sizes", "backend", "bytes"],
)
def test_a_damaged_record_stops_no_other_backend(bundle, device, damage):
    folder = bundle({}).folder
    manifest = json.loads((folder / FILE_NAME).read_text())
    manifest["engines"][0].update(damage)
    (folder / FILE_NAME).write_text(json.dumps(manifest))
    opened = Bundle.open(folder)  # all that ONNX Runtime needs
    with pytest.raises(EngineError, match="; run: derain-compile"):
        read(opened, device)


def test_a_mismatch_is_found_before_the_plan_is_read(bundle, device):
    opened = bundle({"gpu": "AGX"})
    (opened.folder / opened.manifest.engines[0]["file"]).unlink()
    with pytest.raises(EngineError, match="was built for"):
        read(opened, device)
