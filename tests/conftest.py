"""What all tests share: one thread, the data beside the checkout, exports made once."""

import functools
import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

# Read when torch is imported. Tiny pictures are slower on many threads, and far slower
# where other programs want the cores: 103 s instead of 2 s for two frames of dcsfn.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell in the background, and nohup, start programs that ignore these, and so would
# the commands that tests start and then interrupt.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

pytest_plugins = ["support.fixtures"]


@pytest.fixture(scope="session")
def until():
    """What ``condition()`` returns once it is true: ``until(condition)``.

    For what another thread or process does: it takes as long as it takes, on a machine
    that stands still for a while, too.
    """

    def wait(condition, seconds=120):
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "it does not come about"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def said(caplog):
    """What derain has said so far, a line each: ``said()``."""
    caplog.set_level(logging.INFO, "derain")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def shallow_dcsfn(monkeypatch):
    """dcsfn with 1 of its 16 units: every operator, in a tenth of the graph.

    The whole takes minutes a time: it is exported, proven and compiled once, in
    tests/runtime/tensorrt/test_compile_networks.py.
    """
    from derain.models.networks import dcsfn

    shallow = functools.partial(dcsfn.DCSFN, units=1)
    monkeypatch.setattr(dcsfn, "DCSFN", shallow)


@pytest.fixture(scope="session")
def shared_folder():
    """The folder with ``data`` and ``checkpoints``; skips where it is not."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DERAIN_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; DERAIN_SHARED can name another")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared_folder):
    """The data sets; skips where they are not."""
    if not (shared_folder / "data").is_dir():
        pytest.skip(f"{shared_folder} has no data sets")
    return shared_folder / "data"


@pytest.fixture(scope="session")
def export_once():
    """PyTorch's exporter, asked once for each network and range: it takes the time."""
    from derain.export.to_onnx import CoreGraph, to_onnx

    known: dict[tuple[object, ...], CoreGraph] = {}

    def cached(network, facts, sizes, opset):
        weights = tuple(float(p.detach().sum()) for p in network.parameters())
        key = (type(network), weights, facts, str(sizes), opset)
        if key not in known:
            known[key] = to_onnx(network, facts, sizes, opset)
        return replace(known[key], model=known[key].model.clone())

    return cached
