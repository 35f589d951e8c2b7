"""Every name of TensorRT that the code uses exists in the real Python bindings.

The names are lists in api/, which dump_api.py made from the bindings themselves.
"""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from derain.runtime.tensorrt.compile_options import TILING_LEVELS

ROOT = Path(__file__).parents[3]
LISTS = sorted((Path(__file__).parent / "api").glob("*.txt"))
SOURCES = sorted((ROOT / "runtime" / "tensorrt").glob("*.py"))

# What only TensorRT-RTX has; `versions` asks which library it is first.
RTX_ONLY = {
    "BuilderFlag.REQUIRE_USER_ALLOCATION",
    "ComputeCapability",
    "CudaGraphStrategy",
    "CudaGraphStrategy.DISABLED",
    "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "ICudaEngine.create_runtime_config",
    "IExecutionContext.is_stream_capturable",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_runtime_cache",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
}
# What TensorRT-RTX has not; it is refused before.
NOT_RTX = {"INetworkDefinition.add_plugin_v3"}
_MODULES = {"trt", "module"}  # how our code calls TensorRT's module


def names_in(listing):
    """``Class`` and ``Class.attribute`` for all that a list in api/ holds."""
    names = set()
    for line in listing.splitlines():
        head, *attributes = line.split()
        names |= {head, *(f"{head}.{attribute}" for attribute in attributes)}
    return names


def chain(node):
    """``["api", "trt", "Builder"]`` for the expression ``api.trt.Builder``."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def of_module(parts):
    """The names after TensorRT's module in a chain: ``["Builder"]``; [] if none."""
    for name in _MODULES:
        if name in parts[:3]:
            return parts[parts.index(name) + 1 :]
    return []


def used_names(source):
    """Names of TensorRT in a file: of its module, and of variables with its types.

    A variable's type is what it is annotated with, in its function. What a class of
    ours overrides is a name of the class it derives from.
    """
    tree = ast.parse(source)
    used = set()
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for derived in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        for base in filter(None, (of_module(chain(node)) for node in derived.bases)):
            methods = (n for n in derived.body if isinstance(n, ast.FunctionDef))
            used |= {f"{base[0]}.{method.name}" for method in methods}
    for node in ast.walk(tree):
        parts = of_module(chain(node)) if isinstance(node, ast.Attribute) else []
        if parts and not parts[0].startswith("__"):
            used |= {".".join(parts[:2]), parts[0]}
    for scope in scopes:
        types = {}
        for node in ast.walk(scope):
            annotation = getattr(node, "annotation", None)
            if annotation is None:
                continue
            classes = [of_module(chain(part)) for part in ast.walk(annotation)]
            target = getattr(node, "arg", None) or chain(node.target)[-1]
            # The innermost: of list[trt.ITensor] the elements, whose names match.
            for found in filter(None, classes):
                types[target] = found[0]
        for node in ast.walk(scope):
            parts = chain(node) if isinstance(node, ast.Attribute) else []
            if len(parts) > 1 and parts[0] in types:
                used.add(f"{types[parts[0]]}.{parts[1]}")
    return {name for name in used if "__" not in name}


@pytest.fixture(scope="module")
def used():
    return set().union(*(used_names(path.read_text()) for path in SOURCES))


def test_the_names_are_found(used):
    # One of each way to write them: this test must be able to fail.
    assert {
        "Builder",
        "Builder.build_serialized_network",
        "IBuilderConfig.set_memory_pool_limit",
        "MemoryPoolType.WORKSPACE",
        "OnnxParser.parse_from_file",
        "IBuilderConfig.progress_monitor",
        "ICudaEngine.create_execution_context",
        "ILogger.log",
        "IProgressMonitor.step_complete",
        "ITensor.dtype",
        "ParserError.node_operator",
        "Runtime.deserialize_cuda_engine",
        "Runtime.engine_host_code_allowed",
        "ICudaEngine.get_tensor_mode",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.nvtx_verbosity",
        "TensorIOMode.OUTPUT",
    } <= used
    assert {name for name in RTX_ONLY & used if "." not in name} == {
        "ComputeCapability",
        "CudaGraphStrategy",
        "DynamicShapesKernelSpecializationStrategy",
    }


@pytest.mark.parametrize("listing", LISTS, ids=[path.stem for path in LISTS])
def test_every_name_exists(used, listing):
    assert used - RTX_ONLY - names_in(listing.read_text()) == set()


def test_tiling_is_where_the_message_says_it_is():
    names = {"IBuilderConfig.tiling_optimization_level"}
    names |= {f"TilingOptimizationLevel.{level.upper()}" for level in TILING_LEVELS}
    for listing in LISTS:
        there = names & names_in(listing.read_text())
        assert there == (set() if listing.stem == "10.3.0" else names), listing.stem


def test_both_majors_and_the_oldest_jetpack_are_checked():
    versions = [path.stem for path in LISTS]
    assert {version.partition(".")[0] for version in versions} == {"10", "11"}
    assert "10.3.0" in versions


def test_a_name_that_does_not_exist_is_noticed():
    source = "def f(c: trt.IBuilderConfig):\n    c.max_workspace_size = api.trt.FP16\n"
    known = names_in(LISTS[0].read_text())
    assert used_names(source) - known == {"FP16", "IBuilderConfig.max_workspace_size"}


@pytest.mark.usefixtures("rtx")
def test_every_name_exists_in_tensorrt_rtx(used):
    code = "import dump_api, tensorrt_rtx\nprint(dump_api.names(tensorrt_rtx), end='')"
    listing = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout
    # Severity is nested; the list has one level below the module.
    assert (used | RTX_ONLY) - names_in(listing) == NOT_RTX


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    "name",
    [
        "Runtime.engine_host_code_allowed",
        "IExecutionContext.nvtx_verbosity",
        "IRuntimeConfig.cuda_graph_strategy",
        "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    ],
)
def test_what_is_set_in_tensorrt_rtx_can_be_set(name):
    code = f"import tensorrt_rtx\nprint(tensorrt_rtx.{name}.fset is not None)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    assert result.stdout == "True\n"


def test_types_against_the_stubs(tmp_path):
    try:
        files = distribution("tensorrt-stubs").files
    except PackageNotFoundError:
        pytest.skip("pip install --no-deps tensorrt-stubs==10.13.0.35.1")
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    # They are no package that mypy takes (py.typed is missing) and have three errors.
    stubs = [file for file in files if file.suffix == ".pyi"]
    for file in stubs:
        text = Path(file.locate()).read_text()
        text = re.sub(r"\b(in|is|lambda)(: )", r"\1_\2", text)
        text = re.sub(
            r"\n    def add_scale_nd\(.*", "\n    def add_scale_nd(self):", text
        )
        target = tmp_path / "stubs" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        tmp_path / "cache",
    ]
    result = subprocess.run(
        [*command, *(path.relative_to(ROOT) for path in SOURCES)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(tmp_path / "stubs")},
    )
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("runtime")] == []
    assert "errors prevented further checking" not in result.stdout
