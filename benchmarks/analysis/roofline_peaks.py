"""What this machine can do at most: a copy and a matrix product, as JSON on stdout.

Run in a process of its own, as ``python -m derain.benchmarks.analysis.roofline_peaks
THREADS``, with the libraries' threads set by the parent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec

import numpy as np

# Larger than the caches but of the largest servers, and otherwise small: the best of
# many short repetitions is one that no other program has disturbed.
_COPY_BYTES = 64 << 20  # and as much written
_COPY_BYTES_GPU = 1 << 30
_SIDE = 1024  # 2 GFLOP a product
_SIDE_GPU = 8192
_SECONDS = 1.0  # for each figure


def measure(threads: int) -> list[dict[str, object]]:
    """The peaks: of the processor, and of the GPU where PyTorch finds one.

    Returns:
        Fields of `derain.benchmarks.analysis.roofline.RooflinePeak`.
    """
    found = [*_numpy(threads)]
    if find_spec("torch") is not None:
        found += _torch(threads)
    return found


def _numpy(threads: int) -> Iterator[dict[str, object]]:
    source = np.ones(_COPY_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(
        zip(
            np.array_split(target, threads),
            np.array_split(source, threads),
            strict=True,
        )
    )
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            for done in [pool.submit(np.copyto, *part) for part in parts]:
                done.result()

        seconds = _best(copy)
    yield _peak("cpu", "copy", "fp32", 2 * source.nbytes / seconds / 1e9, "NumPy")
    a = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    out = np.empty_like(a)
    seconds = _best(lambda: np.matmul(a, a, out=out))
    yield _peak("cpu", "product", "fp32", 2 * _SIDE**3 / seconds / 1e9, "NumPy")


def _torch(threads: int) -> Iterator[dict[str, object]]:
    import torch

    torch.set_num_threads(threads)
    a = torch.rand(_SIDE, _SIDE)
    out = torch.empty_like(a)
    seconds = _best(lambda: torch.mm(a, a, out=out))
    yield _peak("cpu", "product", "fp32", 2 * _SIDE**3 / seconds / 1e9, "PyTorch")
    if not torch.cuda.is_available():
        return
    source = torch.ones(_COPY_BYTES_GPU // 4, device="cuda")
    target = torch.empty_like(source)

    def synchronised(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    seconds = _best(synchronised(lambda: target.copy_(source)))
    moved = 2 * source.numel() * source.element_size()
    yield _peak("gpu", "copy", "fp32", moved / seconds / 1e9, "PyTorch")
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        b = torch.rand(_SIDE_GPU, _SIDE_GPU, device="cuda", dtype=dtype)
        seconds = _best(synchronised(partial(torch.mm, b, b)))
        value = 2 * _SIDE_GPU**3 / seconds / 1e9
        yield _peak("gpu", "product", precision, value, "PyTorch")


def _best(work: Callable[[], object]) -> float:
    work()
    best = float("inf")
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def _peak(
    device: str, kind: str, precision: str, giga: float, library: str
) -> dict[str, object]:
    return {
        "device": device,
        "kind": kind,
        "precision": precision,
        "giga_per_s": giga,
        "library": library,
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))  # noqa: T201
