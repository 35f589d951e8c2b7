import pytest

from derain.benchmarks.analysis.graph_counts import GraphCounts, NodeCost
from derain.benchmarks.analysis.limits import describe_counts, jetson_verdicts
from derain.benchmarks.analysis.roofline import (
    RooflinePeak,
    best_peak,
    higher_peaks,
    rooflines_ms,
)

PEAKS = [
    RooflinePeak(
        device="cpu", kind=kind, precision="fp32", giga_per_s=giga, library=library
    )
    for kind, giga, library in (
        ("copy", 10.0, "NumPy"),
        ("product", 50.0, "NumPy"),
        ("product", 100.0, "PyTorch"),
    )
]


def graph(*costs):
    """A graph of 1280x720 whose nodes have these MACs and bytes."""
    nodes = [NodeCost(name="", op_type="Conv", macs=m, moved_bytes=b) for m, b in costs]
    pixels = 1280 * 720
    return GraphCounts(pixels=pixels, parameters=0, nodes=tuple(nodes), least_bytes=1)


def test_the_roofline_adds_up_the_slower_of_arithmetic_and_memory():
    # 0.1 GMAC are 2 ms of arithmetic, 10 MB are 1 ms of memory; then the other way.
    counts = graph((10**8, 10**7), (10**7, 10**8))
    assert rooflines_ms([counts], PEAKS) == {"cpu-fp32": pytest.approx(2.0 + 10.0)}


def test_the_roofline_is_that_of_the_cheapest_graph():
    cheap, dear = graph((10**8, 0)), graph((10**9, 0))
    assert rooflines_ms([dear, cheap], PEAKS) == {"cpu-fp32": pytest.approx(2.0)}


def test_without_ceilings_there_is_no_roofline():
    assert rooflines_ms([graph((1, 1))], []) == {}


def test_the_verdict_is_that_of_the_table():
    """64.6 kMAC/px are all that 720p30 leaves on an Orin Nano at 15 W."""
    pixels = 1280 * 720
    counts = describe_counts(graph((64_600 * pixels, 0)), "plain")
    verdicts = {v.module: v for v in jetson_verdicts(counts, pixels)}
    assert verdicts["Orin Nano 8GB 15 W"].arithmetic_percent == pytest.approx(
        100, abs=1
    )
    assert verdicts["AGX Orin 64GB"].arithmetic_percent == pytest.approx(24, abs=1)
    assert verdicts["AGX Orin 64GB"].fits


def test_memory_alone_can_be_too_much():
    counts = describe_counts(graph((1, 4 * 10**9)), "plain")
    verdict = jetson_verdicts(counts, 1280 * 720)[0]
    # 2 GB a frame in FP16, thirty times a second, of 51 GB/s.
    assert verdict.memory_percent == pytest.approx(117.6, abs=0.1)
    assert not verdict.fits


def test_of_two_measurements_the_higher_counts():
    from dataclasses import replace

    disturbed = [replace(peak, giga_per_s=peak.giga_per_s / 2) for peak in PEAKS]
    assert higher_peaks(disturbed, PEAKS) == PEAKS
    assert best_peak(PEAKS, "cpu", "product") == 100.0
    assert best_peak(PEAKS, "gpu", "product") is None
