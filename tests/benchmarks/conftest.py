"""Tiny bundles, a tiny network, and records made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from derain.benchmarks.latency.conditions import Conditions, Snapshot
from derain.benchmarks.latency.machine import MachineFacts
from derain.benchmarks.latency.percentiles import summarise
from derain.benchmarks.report.record import SCHEMA, CandidateResult, Case, Record
from derain.core.sizes import Size, SizeRange
from support.bundles import frame_model, identity_model, write_bundle

SIZE = Size(32, 24)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def bundle(tmp_path, frame):
    """A bundle of 32x24 that halves every value."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    node = helper.make_node(
        "BitShift", ["frame", "one"], ["derained"], direction="RIGHT"
    )
    one = helper.make_tensor("one", TensorProto.UINT8, [1], [1])
    sizes = SizeRange.static(SIZE)
    model = frame_model([node], sizes, [one])
    folder = tmp_path / "halves"
    return write_bundle(folder, model, sizes, frame, frame >> 1, min_psnr_db=45.0)


@pytest.fixture
def snapshot():
    """A quiet machine of two processors."""
    return Snapshot(
        seconds=1000.0,
        governors=["performance"],
        clocks_mhz={"processor": 3000},
        celsius={"cpu": 50.0},
        load=0.1,
        busy_s=500.0,
        own_s=10.0,
        steal_s=0.0,
        throttled=0,
        gpu_throttles=[],
    )


@pytest.fixture
def make_row():
    def make(key="eager", rounds=((10.0, 11.0), (10.0, 12.0), (9.0, 10.0)), **fields):
        rounds = [list(sample) for sample in rounds]
        frames = [ms for sample in rounds for ms in sample]
        row = CandidateResult(
            key=key,
            summary="a row",
            precision="fp32",
            description="by hand",
            error=None,
            error_detail="",
            start_up=None,
            warm_up=None,
            latency=summarise(frames) if frames else None,
            rounds_ms=rounds,
            split_ms={},
            streamed_fps=None,
            speed_up=None,
            speed_up_best=None,
            peak_host_bytes=None,
            peak_device_bytes=None,
            model_bytes=None,
            quality=None,
            truth=None,
            joules_per_frame=None,
            roofline_share=None,
        )
        return replace(row, **fields)

    return make


@pytest.fixture
def make_case():
    def make(*rows, **fields):
        case = Case(
            model="qsnet",
            size="32x24",
            weights="random",
            parameters=None,
            frames="by hand",
            quality_reference=None,
            export_s={},
            left_out={},
            rows=list(rows),
            limits=None,
        )
        return replace(case, **fields)

    return make


@pytest.fixture
def make_record(snapshot):
    def make(*cases, **fields):
        record = Record(
            schema=SCHEMA,
            created="2026-01-02T03:04:05+00:00",
            command=["derain-bench"],
            commit=None,
            machine=MachineFacts(
                device="A board",
                processor="A processor",
                cores=2,
                memory_bytes=8 << 30,
                virtual=False,
                gpu=None,
                driver=None,
                board=None,
                power_mode=None,
                system="Linux",
                python="3.11",
                packages={"onnxruntime": "1.31.1"},
            ),
            conditions=Conditions(
                before=snapshot,
                after=snapshot,
                others_share=0.0,
                steal_share=0.0,
                warnings=[],
            ),
            threads=2,
            processes="each",
            pace={},
            energy_meter=None,
            ceilings=[],
            cases=list(cases),
        )
        return replace(record, **fields)

    return make


@pytest.fixture
def identity_bundle(tmp_path):
    """Makes a bundle that changes nothing: of any size, or of the one given."""

    def make(size=None):
        folder = tmp_path / ("dynamic" if size is None else str(size))
        golden = size or Size(16, 12)
        any_size = SizeRange(Size(1, 1), golden, Size(999, 999))
        sizes = any_size if size is None else SizeRange.static(size)
        grey = np.full((golden.height, golden.width, 3), 90, np.uint8)
        return write_bundle(folder, identity_model(sizes), sizes, grey, grey)

    return make
