import pytest

pytest.importorskip("matplotlib")

from derain.benchmarks.analysis.limits import GraphCost, NetworkLimits
from derain.benchmarks.analysis.roofline import RooflinePeak
from derain.benchmarks.report import plots

COST = GraphCost(
    graph="plain",
    kmac_per_px=46.0,
    parameters=0,
    moved_bytes=10**8,
    least_bytes=1,
    flop_per_byte=20.0,
)


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """The figures that are drawn of a record, by name."""

    def draw(record):
        drawn = {}

        def keep(figure, path):
            drawn[path.stem.rpartition("-")[2]] = figure
            figure.canvas.draw()
            return path

        monkeypatch.setattr(plots, "_save", keep)
        plots.write_plots(record, tmp_path)
        return drawn

    return draw


@pytest.fixture
def record(make_record, make_case, make_row):
    """A record of 23 rows: more than there are markers or colours."""
    from dataclasses import replace

    from derain.benchmarks.report.record import Quality

    near = Quality(psnr_db=50.0, identical=0.9, max_levels=3)
    keys = [f"bundle-{i}/onnxruntime" for i in range(23)]
    rows = [make_row(key, quality=near, roofline_share=0.5) for key in keys]
    rows = [replace(row, model_bytes=1) for row in rows]
    counts = [COST, replace(COST, graph="bundle", flop_per_byte=21.0)]
    limits = NetworkLimits(counts=counts, roofline_ms={}, verdicts=[])
    peaks = [
        RooflinePeak(
            device="cpu", kind=kind, precision="fp32", giga_per_s=50.0, library="NumPy"
        )
        for kind in ("copy", "product")
    ]
    return make_record(make_case(*rows, limits=limits), ceilings=peaks)


def test_no_two_rows_look_alike(figures, record):
    for name, figure in figures(record).items():
        lines = [x for x in figure.axes[0].lines if x.get_marker() not in ("", "None")]
        looks = [(line.get_marker(), line.get_color()) for line in lines]
        assert len(set(looks)) == len(looks) == 23, name


def test_names_do_not_overlap(figures, record):
    drawn = figures(record)
    texts = {
        "latency": drawn["latency"].axes[0].get_yticklabels(),
        "roofline": drawn["roofline"].axes[0].texts,
    }
    for name, labels in texts.items():
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 1
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), name


@pytest.mark.parametrize("longest", [12.0, 40_000.0])
def test_numbers_below_an_axis_do_not_overlap(
    figures, make_record, make_case, make_row, longest
):
    record = make_record(make_case(make_row(rounds=[[0.5, longest]])))
    axes = figures(record)["latency"].axes[0]
    low, high = axes.get_xlim()
    labels = [
        label
        for label in axes.get_xticklabels()
        if low <= label.get_position()[0] <= high
    ]
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) > 1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
