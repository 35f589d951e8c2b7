"""The command: what it makes with the real compiler, and what it says when it fails."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from derain.core.bundle import Bundle
from derain.core.errors import ConfigError, EngineError
from derain.runtime.tensorrt import compile as compiler
from derain.runtime.tensorrt import process
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.compile_cli import main
from derain.runtime.tensorrt.compile_options import CompileOptions
from derain.runtime.tensorrt.engine_fit import read_plan
from support.commands import content, one_line_error

pytestmark = pytest.mark.usefixtures("rtx")


def engines(folder):
    return [path for path in folder.iterdir() if path.suffix == ".plan"]


def test_an_engine_is_added_to_the_bundle(make_bundle, compile_command):
    folder = make_bundle()
    before = content(folder)
    result = compile_command(folder)
    assert result.returncode == 0, result.stderr
    (plan,) = engines(folder)
    assert (
        plan.read_bytes()[:4] == b"vtrt"
    )  # as the builder wrote it, nothing around it
    assert plan.name in result.stdout
    after = content(folder)
    unchanged = before.keys() - {"manifest.json"}
    assert {name: after[name] for name in unchanged} == {
        n: before[n] for n in unchanged
    }
    assert set(after) == {*before, plan.name}


def test_the_record_says_how_it_was_built(make_bundle, compile_command):
    folder = make_bundle(middle="half", precision="fp16")
    result = compile_command(folder, "--json", "--optimization-level", "1")
    engine = json.loads(result.stdout)["engine"]
    opened = Bundle.open(folder)
    assert opened.manifest.engines == (engine,)
    assert engine["backend"] == "tensorrt-rtx"
    assert engine["compute_capabilities"] == ["8.6"]
    assert engine["onnx_sha256"] == opened.manifest.files["model.onnx"]
    assert engine["network_types"] == {"fp16": 1}
    assert engine["options"] == {"optimization_level": 1}
    assert engine["seconds"] > 0
    assert engine["peak_bytes"] > 1 << 20
    assert engine["gpu"] is None


def test_the_engine_can_be_read_where_it_fits(make_bundle, compile_command, device):
    import dataclasses

    folder = make_bundle()
    compile_command(folder)
    opened = Bundle.open(folder)
    version = opened.manifest.engines[0]["version"]
    here = dataclasses.replace(device, compute_capability="8.6")
    record, plan = read_plan(opened, "tensorrt-rtx", version, here)
    assert len(plan) == record.bytes
    with pytest.raises(EngineError, match=r"GPUs \(8\.6\).*this is .*Orin \(8\.7\)"):
        read_plan(opened, "tensorrt-rtx", version, device)


def test_the_record_names_the_gpu_it_was_built_on(
    make_bundle, monkeypatch, device, said
):
    """As the other process tells it where there is one."""
    facts = BuildFacts(
        version="10.3.0",
        device=device,
        compute_capabilities=("8.7",),
        seconds=60.0,
        peak_bytes=1 << 30,
        settings={"max_aux_streams": 0},
        network_types={"fp16": 1},
        layers={"fp16": 1, "fp32": 3},
        notes=("a warning",),
    )

    def build(request, on_event, descriptors):
        on_event({"started": {"version": "10.3.0", "device": asdict(device)}})
        os.write(descriptors[0], b"plan")
        return json.loads(json.dumps(facts.to_json()))

    monkeypatch.setattr(compiler, "run_child", build)
    folder = make_bundle(middle="half", precision="fp16")

    def compile_it():
        return compiler.compile(folder, backend="tensorrt")

    record = compile_it()
    assert (record.version, record.gpu) == ("10.3.0", "Orin")
    assert (record.multiprocessors, record.memory_bytes) == (8, 8 << 30)
    assert record.options == {"max_aux_streams": 0}
    assert said() == list(record.notes)
    assert record.compute_capabilities == ("8.7",)
    assert (record.driver, record.cuda) == ("12.6", "12.6")
    assert record.seconds == 60.0
    assert record.layers == {"fp16": 1, "fp32": 3}
    reported, warning = record.notes
    assert reported.startswith("the bundle is fp16, but 3 of 4 layers of the engine ")
    assert warning == "a warning"
    opened = Bundle.open(folder)
    assert read_plan(opened, "tensorrt", "10.3.0", device) == (record, b"plan")
    with pytest.raises(EngineError, match="has this engine already"):
        compile_it()


def test_the_compiler_says_how_far_it_is(make_bundle, monkeypatch):
    code = (
        "from derain.runtime.tensorrt import child\n"
        "child._PROGRESS_PERIOD_S = 0.0\n"
        "child.main()"
    )
    monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", code))
    told = []
    monkeypatch.setattr(
        compiler._Shown, "update", lambda self, *done: told.append(done)
    )
    compiler.compile(make_bundle(), backend="tensorrt-rtx", compute_capability=("8.6",))
    parts = [part for part, phase in told if part is not None and phase]
    assert parts[0] < parts[-1] <= 1


def test_mostly_fp32_layers_of_an_fp16_bundle_are_reported(
    make_bundle, compile_command
):
    result = compile_command(make_bundle("mixed", precision="fp16"))
    assert result.returncode == 0, result.stderr
    assert (
        "note: the bundle is fp16, but 2 of 3 convolutions and matrix" in result.stderr
    )


def test_convolutions_that_read_int8_are_counted(make_bundle, compile_command):
    result = compile_command(make_bundle("int8", precision="int8"), "--json")
    engine = json.loads(result.stdout)["engine"]
    assert engine["network_types"] == {"fp32": 1, "int8": 1}


@pytest.mark.parametrize(
    ("middle", "precision", "got"), [("conv", "fp16", "fp32"), ("half", "fp32", "fp16")]
)
def test_a_bundle_of_another_precision_than_it_says(
    make_bundle, compile_command, middle, precision, got
):
    folder = make_bundle(middle, precision=precision)
    before = content(folder)
    one_line_error(
        compile_command(folder),
        f"the bundle says {precision}, but its model is {got} .*; export it again",
    )
    assert content(folder) == before


@pytest.mark.parametrize(
    ("precision", "says"),
    [("bf16", "precision 'bf16' is not known"), (None, "precision is None, wanted")],
)
def test_a_bundle_without_a_known_precision(
    make_bundle, compile_command, precision, says
):
    folder = make_bundle()
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["precision"] = precision
    path.write_text(json.dumps(manifest))
    before = content(folder)
    one_line_error(compile_command(folder), says)
    assert content(folder) == before


@pytest.mark.parametrize(
    "options",
    [(), ("--size", "64x48"), ("--dynamic", "32x32,40x40,64x48")],
    ids=["all", "one size", "a smaller range"],
)
def test_a_range_of_sizes(make_bundle, compile_command, options):
    folder = make_bundle(sizes="32x32,64x48,128x96")
    result = compile_command(folder, *options)
    assert result.returncode == 0, result.stderr
    (engine,) = Bundle.open(folder).manifest.engines
    assert engine["sizes"] == (options[1] if options else "32x32,64x48,128x96")


def test_a_bundle_holds_an_engine_for_each_size(make_bundle, compile_command):
    folder = make_bundle(sizes="32x32,64x48,128x96")
    for size in ("64x48", "128x96"):
        compile_command(folder, "--size", size)
    assert len(engines(folder)) == len(Bundle.open(folder).manifest.engines) == 2


def test_an_engine_that_is_there_is_built_again_only_by_force(
    make_bundle, compile_command
):

    folder = make_bundle()
    compile_command(folder)
    before = content(folder)
    one_line_error(compile_command(folder), "has this engine already; .* --force")
    assert content(folder) == before
    assert compile_command(folder, "--force").returncode == 0
    assert len(engines(folder)) == 1


def test_a_damaged_engine_is_built_again(make_bundle, compile_command):
    folder = make_bundle()
    compile_command(folder)
    (plan,) = engines(folder)
    plan.write_bytes(b"damaged")
    assert compile_command(folder).returncode == 0
    assert engines(folder)[0].stat().st_size > len(b"damaged")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            ("--size", "640x480"),
            "takes frames of 64x48, not 640x480; run: derain-export",
        ),
        (
            ("--compute-capability", "8.7"),
            "cannot build for compute capability 8.7; ch",
        ),
        (("--version-compatible",), "has no --version-compatible: it comes without"),
        (("--hardware-compatible",), "has no --hardware-compatible; give one --comp"),
    ],
    ids=["size", "compute capability", "hardware", "version"],
)
def test_options_that_do_not_fit(make_bundle, compile_command, options, why):
    folder = make_bundle()
    before = content(folder)
    one_line_error(compile_command(folder, *options), why)
    assert content(folder) == before


@pytest.mark.parametrize(
    "option",
    [
        ("--workspace", "lots"),
        ("--compute-capability", "Ampere"),
        ("--optimization-level", "6"),
        ("--size", "1x1", "--dynamic", "1x1,2x2,3x3"),
        ("--timing-cache", "x", "--no-timing-cache"),
    ],
    ids=lambda option: option[0],
)
def test_wrong_usage(option):
    assert CliRunner().invoke(main, ["bundle", *option]).exit_code == 2


def test_without_a_gpu_the_compute_capability_is_asked_for(make_bundle, monkeypatch):

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also where there is one
    command = [
        sys.executable,
        "-m",
        "derain.runtime.tensorrt.compile_cli",
        make_bundle(),
    ]
    options = ["--backend", "tensorrt-rtx"]
    result = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=180
    )
    one_line_error(
        result, "; to build for a GPU that is not here, give its --compute-capability"
    )


def test_a_model_with_a_refused_node(make_bundle, compile_command):

    folder = make_bundle("unpool")
    before = content(folder)
    one_line_error(
        compile_command(folder), r"refuses 2 nodes: MaxPool pool: .*MaxUnpool unpool"
    )
    assert content(folder) == before


@pytest.mark.parametrize("model", [b"", b"garbage", None], ids=["no", "other", "cut"])
def test_a_damaged_model_with_the_right_hash(
    make_bundle, set_model, compile_command, model
):
    folder = make_bundle()
    if model is None:
        model = (folder / "model.onnx").read_bytes()[:200]
    set_model(folder, model)
    before = content(folder)
    one_line_error(compile_command(folder), r"model\.onnx is not a (model|graph) ")
    assert content(folder) == before


def test_a_foreign_model_with_the_right_hash(make_bundle, set_model, compile_command):

    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    folder = make_bundle()
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"
    ]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "foreign", values[:1], values[1:])
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    set_model(folder, model.SerializeToString())
    assert onnx.load(folder / "model.onnx").graph.name == "foreign"
    one_line_error(compile_command(folder), r"got x FLOAT \(1, 3\), .*wanted one input")


def test_a_changed_model_never_reaches_the_parser(make_bundle, compile_command):

    folder = make_bundle()
    (folder / "model.onnx").write_bytes(b"garbage")
    one_line_error(compile_command(folder), r"model\.onnx has changed since the bundle")


def test_no_bundle(tmp_path, compile_command):
    one_line_error(compile_command(tmp_path), r"is not a bundle: it has no manifest")
    one_line_error(compile_command(tmp_path / "x"), "is not a bundle: .*nothing there")
    (tmp_path / "file").touch()
    one_line_error(compile_command(tmp_path / "file"), "is not a bundle: .*got a file")


# Starts the command with a compiler that may allocate only a little more.
_POOR = """
import re, resource
from pathlib import Path
from derain.runtime.tensorrt import child
build = child.build
def limited(*arguments):
    mapped = re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    limit = 1024 * int(mapped) + (16 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return build(*arguments)
child.build = limited
child.main()
"""
_COMPILE = """
import sys
from derain.runtime.tensorrt import process
from derain.runtime.tensorrt.compile_cli import main
process._COMMAND = (sys.executable, "-c", sys.argv.pop())
process._STUCK_S = 4.0
main()
"""


def test_too_little_memory(make_bundle):
    folder = make_bundle()
    before = content(folder)
    options = ["--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--quiet"]
    result = subprocess.run(
        [sys.executable, "-c", _COMPILE, str(folder), *options, _POOR],
        capture_output=True,
        text=True,
        timeout=180,
    )
    # It throws, aborts or waits for ever, as it happens.
    one_line_error(result, "memory|crashed|does nothing")
    assert content(folder) == before


# Starts a command as one who may not write everywhere: root gives that right up.
_ANYBODY = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_an_unwritable_folder(make_bundle):
    folder = make_bundle()
    before = content(folder)
    options = ["--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--quiet"]
    command = ["-m", "derain.runtime.tensorrt.compile_cli", folder, *options]
    folder.chmod(0o555)
    try:
        result = subprocess.run(
            [sys.executable, "-c", _ANYBODY, *command],
            capture_output=True,
            text=True,
            timeout=180,
        )
    finally:
        folder.chmod(0o755)
    if result.returncode == 77:
        pytest.skip("root may write everywhere, and cannot give that up here")
    one_line_error(result, "cannot be written: Permission denied")
    assert content(folder) == before


def test_a_full_disk(make_bundle, monkeypatch):
    folder = make_bundle()
    before = content(folder)

    def full(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiler.tempfile, "TemporaryFile", full)
    result = CliRunner().invoke(main, [str(folder), "--backend", "tensorrt-rtx"])
    assert result.exit_code == 1
    assert (
        result.output == f"Error: {folder} cannot be written: No space left on device\n"
    )
    assert content(folder) == before


def test_a_disk_that_is_full_when_the_engine_is_written(make_bundle, monkeypatch):

    folder = make_bundle()
    before = content(folder)
    full = Path("/dev/full")  # has no room for a single byte
    monkeypatch.setattr(compiler, "_nameless_file", lambda folder: full.open("wb"))
    options = ["--backend", "tensorrt-rtx", "--compute-capability", "8.6", "--quiet"]
    result = CliRunner().invoke(main, [str(folder), *options])
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: the engine of \S+ MB cannot be written: No space left on device\n",
        result.output,
    )
    assert content(folder) == before


def test_the_backend_is_tensorrt_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(compiler, "installed", lambda: ["tensorrt", "tensorrt-rtx"])
    assert compiler.choose_backend(CompileOptions()) == "tensorrt"
    ahead = CompileOptions(compute_capability=("8.6",))
    assert compiler.choose_backend(ahead) == "tensorrt-rtx"
    monkeypatch.setattr(compiler, "installed", list)
    with pytest.raises(EngineError, match="neither tensorrt nor tensorrt_rtx is inst"):
        compiler.choose_backend(CompileOptions())


def test_a_request_survives_its_way_to_the_other_process(tmp_path):
    from derain.core.sizes import SizeRange

    request = BuildRequest(
        backend="tensorrt",
        model=tmp_path / "model.onnx",
        precision="fp16",
        sizes=SizeRange.parse("1x1,2x2,3x3"),
        options=BuildOptions(
            compute_capabilities=("8.6",), timing_cache_file=tmp_path / "x"
        ),
    )
    there = json.loads(json.dumps(request.to_json()))
    assert BuildRequest.from_json(there) == request


def test_an_opened_bundle_and_sizes_in_any_form(make_bundle):
    folder = make_bundle(sizes="32x32,64x48,128x96")
    options = {"backend": "tensorrt-rtx", "compute_capability": ("8.6",)}
    first = compiler.compile(Bundle.open(folder), size=(64, 48), **options)
    second = compiler.compile(str(folder), dynamic="32x32,40x40,64x48", **options)
    assert (str(first.sizes), str(second.sizes)) == ("64x48", "32x32,40x40,64x48")
    assert len(Bundle.open(folder).manifest.engines) == 2


def test_options_that_exclude_each_other(make_bundle):
    with pytest.raises(ConfigError, match="--size and --dynamic exclude each other"):
        compiler.compile(make_bundle(), size="1x1", dynamic="1x1,2x2,3x3")


def test_tiling_is_in_the_record(make_bundle, compile_command):
    result = compile_command(make_bundle(), "--tiling", "fast", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["engine"]["options"] == {"tiling": "fast"}


# Builds an engine, and dies where it would be inspected.
_DIES = """
import os
from derain.runtime.tensorrt import child
def inspect(*arguments, **options):
    {death}
child.inspect = inspect
child.main()
"""


@pytest.mark.parametrize(
    ("death", "why"),
    [
        ("os.kill(os.getpid(), 11)", r"crashed \(SIGSEGV\)"),
        ("raise ValueError('no such layer')", "last words: ValueError: no such layer"),
    ],
    ids=["a crash", "an exception"],
)
def test_an_engine_survives_an_inspection_that_does_not(
    make_bundle, monkeypatch, death, why
):
    code = _DIES.format(death=death)
    monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", code))
    folder = make_bundle()
    record = compiler.compile(
        folder, backend="tensorrt-rtx", compute_capability=("8.6",)
    )
    assert record.layers is None
    (note,) = (note for note in record.notes if "not inspected" in note)
    assert re.search(why, note)
    assert (folder / record.file).stat().st_size == record.bytes > 0
