"""A bundle gets its engine at once or not at all."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest

from derain.core.bundle import MODEL_FILE, Bundle
from derain.core.errors import BundleError, EngineError
from derain.core.manifest import FILE_NAME
from derain.core.sizes import SizeRange
from derain.runtime.tensorrt.install import digest_of, has_engine, install, plan_name
from support.commands import content


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()


@pytest.fixture
def add(bundle, make_record):
    """Adds an engine with this plan to the bundle."""

    def run(plan=b"first", **changes):
        file = io.BytesIO(plan)
        digest, length = digest_of(file)
        model = Bundle.open(bundle).manifest.files[MODEL_FILE]
        changes = {"onnx_sha256": model, **changes}
        record = make_record(sha256=digest, bytes=length, **changes)
        fields = {"sha256": digest, "bytes": length, **changes}
        record = make_record(**fields, file=plan_name(record.kind, digest))
        install(bundle, record, file)
        return record

    return run


def plans(folder):
    return {path.name for path in folder.iterdir() if "plan" in path.name}


def test_the_name_says_what_the_engine_is_for(make_record):
    kind = make_record(sizes=SizeRange.parse("32x32,64x48,128x96")).kind
    name = plan_name(kind, "0a1b2c3d4e5f")
    assert name == "tensorrt-10.3.0-sm87-32x32-128x96-0a1b2c3d.plan"


def test_an_engine_is_added(bundle, add):
    record = add(b"first")
    opened = Bundle.open(bundle)
    assert opened.manifest.engines == (record.to_json(),)
    assert (bundle / record.file).read_bytes() == b"first"
    assert has_engine(opened, record.kind)


def test_links_out_of_the_bundle_are_not_written_through(bundle, add, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    record = add(b"first")
    for name in (FILE_NAME, record.file):
        shutil.move(bundle / name, outside / name)
        (bundle / name).symlink_to(outside / name)
    before = content(outside)
    again = add(b"second")
    assert content(outside) == before
    assert (bundle / again.file).read_bytes() == b"second"
    assert not (bundle / FILE_NAME).is_symlink()
    assert Bundle.open(bundle).manifest.engines == (again.to_json(),)


def test_an_engine_of_another_kind_stays(bundle, add):
    first, second = add(b"first"), add(b"second", gpu="AGX")
    assert plans(bundle) == {first.file, second.file}
    assert len(Bundle.open(bundle).manifest.engines) == 2


def test_engines_of_an_agx_and_of_a_nano_lie_side_by_side(bundle, add):
    first, second = add(b"first", multiprocessors=16), add(b"second", multiprocessors=8)
    assert plans(bundle) == {first.file, second.file}
    assert len(Bundle.open(bundle).manifest.engines) == 2


def test_an_engine_of_the_same_kind_is_replaced(bundle, add):
    add(b"first")
    second = add(b"second")
    assert plans(bundle) == {second.file}
    assert Bundle.open(bundle).manifest.engines == (second.to_json(),)


def test_a_damaged_plan_is_no_engine(bundle, add):
    record = add()
    (bundle / record.file).write_bytes(b"other")
    assert not has_engine(Bundle.open(bundle), record.kind)


def test_what_a_newer_derain_wrote_stays(bundle, add):
    path = bundle / FILE_NAME
    manifest = json.loads(path.read_text())
    unknown = {"format": "of the future"}
    path.write_text(json.dumps({**manifest, "future": 1, "engines": [unknown]}))
    record = add()
    written = json.loads(path.read_text())
    assert written["future"] == 1
    assert written["engines"] == [unknown, record.to_json()]


def test_remains_of_a_killed_build_are_removed(bundle, add):
    parts = [
        bundle / ".tensorrt-10.3.0-sm87-64x48-0a1b2c3d.pl-4e5f6071.part",
        bundle / ".manifest.json-4e5f6071.part",
    ]
    orphan = bundle / "tensorrt-10.3.0-sm87-64x48-0a1b2c3d.plan"
    for part in parts:
        part.write_bytes(b"")
    orphan.write_bytes(b"")
    (bundle / "mine.plan").write_bytes(b"the user's own")
    record = add()
    assert plans(bundle) == {record.file, "mine.plan"}
    assert not list(bundle.glob(".*"))


@pytest.mark.parametrize("call", range(2), ids=["plan", "manifest"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failed_write_leaves_a_bundle_that_works(
    bundle, add, monkeypatch, error, call
):
    first = add(b"first")
    manifest = (bundle / FILE_NAME).read_bytes()
    calls = []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((EngineError, KeyboardInterrupt)):
        add(b"second")
    assert (bundle / FILE_NAME).read_bytes() == manifest
    assert (bundle / first.file).read_bytes() == b"first"
    assert not list(bundle.glob(".*"))


def test_the_plan_is_on_the_disk_before_the_manifest_names_it(bundle, add, monkeypatch):
    renamed, replace = [], os.replace

    def record(path, target):
        renamed.append(Path(target).name)
        return replace(path, target)

    monkeypatch.setattr(os, "replace", record)
    engine = add()
    assert renamed == [engine.file, FILE_NAME]


def test_a_bundle_that_was_exported_again_is_left_alone(bundle, add):
    with pytest.raises(EngineError, match="exported again during the build"):
        add(onnx_sha256="2" * 64)
    assert not plans(bundle)


def test_a_bundle_that_has_gone(tmp_path, make_record):
    with pytest.raises(BundleError, match="no longer a bundle"):
        install(tmp_path / "gone", make_record(), io.BytesIO(b""))
