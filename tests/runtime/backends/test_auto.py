"""``backend="auto"``: the fastest that really works here."""

import dataclasses

import pytest

from derain.core.bundle import Bundle
from derain.core.errors import EngineError
from derain.runtime import backends as table
from derain.runtime import derainer
from derain.runtime.backends import BACKENDS, backends, candidates
from derain.runtime.backends.ort import open_cpu
from derain.runtime.derainer import load


@pytest.fixture
def bundle(bundles):
    """``bundle("int8", engines=("tensorrt",))``: a bundle with engines of these."""

    def make(precision="fp32", engines=()):
        opened = Bundle.open(bundles("darken"))
        manifest = dataclasses.replace(
            opened.manifest,
            precision=precision,
            engines=tuple({"backend": name} for name in engines),
        )
        return dataclasses.replace(opened, manifest=manifest)

    return make


@pytest.fixture
def machine(monkeypatch):
    """A machine where these backends work, and open: ``machine("openvino", ...)``."""

    def make(works, opens=None):
        def check(name):
            if name not in works:
                raise EngineError(f"{name} is not there")
            return name

        def open_backend(name, bundle, threads=0):
            if name not in (works if opens is None else opens):
                raise EngineError(f"{name} does not open")
            return open_cpu(bundle, threads)

        monkeypatch.setattr(derainer, "check_backend", check)
        monkeypatch.setattr(derainer, "open_backend", open_backend)

    return make


@pytest.mark.parametrize(
    ("precision", "engines", "order"),
    [
        ("fp32", (), ["onnxruntime-cuda", "onnxruntime"]),
        ("fp16", (), ["onnxruntime-cuda", "onnxruntime"]),
        ("int8", (), ["onnxruntime-cuda", "openvino", "onnxruntime"]),
        ("fp16", ("tensorrt",), ["tensorrt", "onnxruntime-cuda", "onnxruntime"]),
        (
            "int8",
            ("tensorrt-rtx",),
            ["tensorrt-rtx", "onnxruntime-cuda", "openvino", "onnxruntime"],
        ),
    ],
)
def test_the_order_in_which_backends_are_tried(
    bundle, monkeypatch, precision, engines, order
):
    on_x86 = dataclasses.replace(BACKENDS["openvino"], precisions=("fp32", "int8"))
    monkeypatch.setitem(BACKENDS, "openvino", on_x86)
    assert candidates(bundle(precision, engines)) == order


@pytest.mark.parametrize(
    ("precision", "works", "taken"),
    [
        ("fp32", ("onnxruntime", "openvino"), "onnxruntime"),
        ("int8", ("onnxruntime", "openvino"), "openvino"),
        ("int8", ("onnxruntime", "openvino", "onnxruntime-cuda"), "onnxruntime-cuda"),
    ],
)
def test_what_is_not_installed_is_passed_over_in_silence(
    bundle, machine, said, monkeypatch, precision, works, taken
):
    on_x86 = dataclasses.replace(BACKENDS["openvino"], precisions=("fp32", "int8"))
    monkeypatch.setitem(BACKENDS, "openvino", on_x86)
    machine(works)
    with load(bundle(precision)) as model:
        assert model.backend == taken
        wanted = f"{model.description}, the fastest that works here for {precision}"
    assert said() == [f"backend: {wanted}"]


def test_what_would_be_faster_is_advised(bundle, machine, said):
    machine(("onnxruntime",))
    with load(bundle("int8")) as model:
        assert "pip install 'derain[openvino]'" in model.advice
        assert said()[1:] == [model.advice]
    with load(bundle("fp32")) as model:
        assert model.advice is None


def test_an_engine_that_does_not_open_falls_to_the_next_with_one_line(
    bundle, machine, said
):
    machine(("onnxruntime", "tensorrt"), opens=("onnxruntime",))
    with load(bundle(engines=("tensorrt",))) as model:
        assert model.backend == "onnxruntime"
    first, second = said()
    assert first == "not tensorrt: tensorrt does not open; the next fastest is tried"
    assert second.startswith("backend: onnxruntime ")


def test_one_that_fails_its_self_test_falls_to_the_next(
    bundle, machine, said, monkeypatch
):
    machine(("onnxruntime", "onnxruntime-cuda"))
    results = iter([EngineError("self-test failed: noise"), 60.0])

    def test_itself(self):
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(derainer.Derainer, "_test_itself", test_itself)
    with load(bundle()) as model:
        assert model.backend == "onnxruntime"
    assert said()[0].startswith("not onnxruntime-cuda: self-test failed: noise; ")


def test_a_name_is_obeyed_or_fails(bundle, machine):
    machine(("onnxruntime",))
    with pytest.raises(EngineError, match="tensorrt does not open"):
        load(bundle(), "tensorrt")


def test_backends_that_work_and_why_others_do_not(monkeypatch):
    def check(name):
        if name == "tensorrt":
            raise EngineError("no GPU: there is none")
        return f"{name} 1.0"

    monkeypatch.setattr(table, "check_backend", check)
    found = backends()
    assert found == tuple(name for name in BACKENDS if name != "tensorrt")
    assert found.reasons["tensorrt"] == "no GPU: there is none"
    lines = str(found).splitlines()
    assert lines[0].split() == ["onnxruntime", "yes", "onnxruntime", "1.0"]
    assert "tensorrt          no   no GPU: there is none" in lines


def test_the_reference_works_here():
    found = backends()
    assert "onnxruntime" in found
    assert found.reasons.keys() == BACKENDS.keys()
