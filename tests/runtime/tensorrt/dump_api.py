"""Write down the names in TensorRT's Python bindings, for test_api.py.

The bindings are on the public registry without the libraries they need, which exist
only at NVIDIA. Stub libraries with the nine C symbols are enough to import them. Needs
gcc, pip and Linux on x86-64; run by hand when a version is added:

    python tests/runtime/tensorrt/dump_api.py 10.3.0 10.16.1.11 11.4.0.106

Each file in api/ has a line for every name of the module: the name, and for a class its
attributes.
"""

import inspect
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SYMBOLS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}


def fetch(version: str, folder: Path) -> None:
    """Unpack the bindings of `version` and put stub libraries beside them."""
    for cuda in ("cu13", "cu12"):  # CUDA 13 is there since 10.13
        package = f"tensorrt_{cuda}_bindings=={version}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", package]
        if subprocess.run([*command, "-d", folder], check=False).returncode == 0:
            break
    else:
        sys.exit(f"there are no bindings of TensorRT {version}")
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    major = version.partition(".")[0]
    for library, symbols in SYMBOLS.items():
        source = folder / f"{library}.c"
        source.write_text(
            "".join(f"void *{name}() {{ return 0; }}\n" for name in symbols)
        )
        stub = folder / f"lib{library}.so.{major}"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", stub, source], check=True)


def names(module: object) -> str:
    """One line for each public name of `module`."""
    lines = []
    for name in sorted(n for n in dir(module) if not n.startswith("_")):
        value = getattr(module, name)
        attributes = []
        if inspect.isclass(value):
            attributes = sorted(n for n in dir(value) if not n.startswith("_"))
        lines.append(" ".join((name, *attributes)))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Dump every version named on the command line, each in a process of its own."""
    target = Path(__file__).parent / "api"
    for version in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            fetch(version, Path(folder))
            code = (
                "import sys, ctypes, pathlib\n"
                f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {folder!r}]\n"
                "import dump_api\n"
                "from tensorrt_bindings import tensorrt\n"
                "print(dump_api.names(tensorrt), end='')\n"
            )
            environment = {**os.environ, "LD_LIBRARY_PATH": folder}
            result = subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                check=True,
                text=True,
            )
        (target / f"{version}.txt").write_text(result.stdout)


if __name__ == "__main__":
    main()
