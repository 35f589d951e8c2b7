"""A Triton Inference Server for tests: NVIDIA's own binary, on the processor.

It comes with the package nvidia-pytriton, whose server has the Python backend alone,
not ONNX Runtime's. The tests therefore let it load what ``derain-triton`` wrote with
one line changed, the backend: a Python model runs ``1/model.onnx``, and keeps the
states that ONNX Runtime's backend would hand back to the server. Everything else is
Triton's: reading the configuration, warm-up, sequences, control inputs, initial states,
shared memory, gRPC.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("triton_model.py")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def find_server():
    """The server's folder in nvidia-pytriton; skips where it is not installed."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None:
        pytest.skip("no Triton server: pip install --no-deps nvidia-pytriton")
    folder = Path(spec.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = folder / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        pytest.skip(f"nvidia-pytriton has no backend for Python {version}")
    for program in (folder / "bin" / "tritonserver", stub):
        found = subprocess.run(
            ["ldd", str(program)], capture_output=True, text=True, check=False
        )
        missing = re.findall(r"(\S+) => not found", found.stdout)
        if found.returncode or missing:
            pytest.skip(f"{program.name} does not run here: no {', '.join(missing)}")
    return folder, stub


class TritonServer:
    """A server on a model repository; ``with TritonServer(folder) as server:``.

    Attributes:
        address: Of its gRPC.
        repository: Its models; each writes the first frame it sees to a file.
        log: What it says, a file.
    """

    def __init__(self, repository, scratch):
        self.repository = repository
        folder, stub = find_server()
        backend = scratch / "backends" / "python"
        shutil.copytree(folder / "backends" / "python", backend)
        shutil.copy(stub, backend)
        # Here they do not lie where the copies look for them.
        libraries = folder.parents[1] / "nvidia_pytriton.libs"
        grpc, http = free_ports(2)
        self.address = f"127.0.0.1:{grpc}"
        self.log = scratch / "triton.log"
        for config in repository.glob("*/config.pbtxt"):
            text = config.read_text()
            text = re.sub(r'backend: "onnxruntime"', 'backend: "python"', text)
            config.write_text(text)
            shutil.copy(MODEL, config.parent / "1" / "model.py")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        }
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    str(folder / "bin" / "tritonserver"),
                    *("--model-repository", str(repository)),
                    *("--backend-directory", str(scratch / "backends")),
                    *("--grpc-port", str(grpc), "--http-port", str(http)),
                    *("--allow-metrics", "false", "--grpc-address", "127.0.0.1"),
                    *("--http-address", "127.0.0.1", "--exit-timeout-secs", "2"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def __enter__(self):
        end = time.monotonic() + 120
        while "Started GRPCInferenceService" not in self.log.read_text():
            if self._process.poll() is not None:
                pytest.fail(f"Triton does not start: {self.log.read_text()[-3000:]}")
            assert time.monotonic() < end, "Triton does not start"
            time.sleep(0.1)
        return self

    def __exit__(self, *error):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
