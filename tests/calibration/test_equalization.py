import numpy as np
import onnx
import onnx_ir as ir
import pytest

from derain.calibration import choose
from derain.calibration.apply import apply_calibration, fingerprint
from derain.calibration.calibration_file import Calibration
from derain.calibration.choose import choose_factors
from derain.calibration.equalization import equalise, find_chains, find_factors
from derain.calibration.frame_store import FrameStore
from derain.calibration.layers import find_layers, nodes_by_name, tensor_keys
from derain.calibration.observers import observe
from derain.calibration.qdq import insert_qdq
from derain.calibration.scoring import HeldOut, Scorer
from derain.calibration.session import GraphSession, Shot
from derain.core.errors import CalibrationError
from derain.core.sizes import Size

WIDTH, HEIGHT = 48, 32  # of the frames in conftest.py


def levels(model, frame, name="levels"):
    copy = model.clone()
    value = next(v for n in copy.graph for v in n.outputs if v.name == name)
    copy.graph.outputs[:] = [value]
    return GraphSession(copy).run(frame)[name]


def quantised(model, frames):
    """All layers in INT8, ranges that reach as far as the tensors do."""
    copy = model.clone()
    observations, _ = observe(model, find_layers(model), map(Shot, frames))
    ranges = {name: seen.histogram.largest for name, seen in observations.items()}
    insert_qdq(copy, ranges, {layer.name for layer in find_layers(model)})
    return copy


def test_a_chain_is_read_by_convolutions_alone(model, concat_model, grouped):
    assert [(x.tensor, x.first, x.readers) for x in find_chains(model)] == [
        ("r1", "conv1", ("conv2",))  # r0 and r2 are added to, or image is
    ]
    assert find_chains(concat_model) == ()
    assert [x.tensor for x in find_chains(grouped)] == ["r0", "c1", "r2"]


def test_what_is_looked_at_from_outside_is_no_chain(model):
    value = nodes_by_name(model)["conv1"].outputs[0]
    model.graph.outputs.append(value)
    assert find_chains(model) == ()


def test_the_float_network_computes_what_it_did(grouped, rainy):
    factors = find_factors(grouped, map(Shot, rainy[:2]))
    changed = grouped.clone()
    equalise(changed, factors)
    assert set(factors) == {"r0", "c1", "r2"}
    before, after = (levels(graph, rainy[3]) for graph in (grouped, changed))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)


def test_channels_in_front_of_a_depthwise_convolution_reach_equally(grouped, rainy):
    def reach(graph):
        most = np.abs(levels(graph, rainy[0], "r0")).max(axis=(0, 2, 3))
        return most[most > most.max() * 1e-3]  # a silent channel stays silent

    before = reach(grouped)
    equalise(grouped, find_factors(grouped, map(Shot, rainy[:1])))
    after = reach(grouped)
    assert before.max() / before.min() > 10
    np.testing.assert_allclose(after, after[0], rtol=1e-4)


def test_factors_stay_where_fp16_can_hold_them(grouped, rainy):
    nodes_by_name(grouped)["c0"].inputs[1].const_value = ir.tensor(
        np.zeros((8, 3, 1, 1), np.float32), name="w0"
    )
    for factor in find_factors(grouped, map(Shot, rainy[:1])).values():
        assert np.isfinite(factor).all()
        assert (factor >= 1 / 32).all()
        assert (factor <= 32).all()


def test_int8_comes_nearer_where_channels_were_uneven(uneven_model, rainy):
    scorer = Scorer(uneven_model, [HeldOut(rainy[5], None, HEIGHT, WIDTH)])
    before = scorer.score(quantised(uneven_model, rainy[:3])).psnr_db
    equalise(uneven_model, find_factors(uneven_model, map(Shot, rainy[:3])))
    assert scorer.score(quantised(uneven_model, rainy[:3])).psnr_db > before + 1


@pytest.fixture
def store(footage):
    with FrameStore() as store:
        store.collect(str(footage), Size(WIDTH, HEIGHT), dry=False, count=6)
        yield store


def test_factors_are_kept_where_they_help(uneven_model, store, said):
    assert set(choose_factors(uneven_model, store)) == {"r1"}
    assert "1 tensors equalised" in said()[-1]
    assert "left" not in said()[-1]


def test_factors_that_do_not_help_are_left(uneven_model, store, said, monkeypatch):
    monkeypatch.setattr(choose, "_EQUALISE_DB", 99)
    assert choose_factors(uneven_model, store) == {}
    assert "left as they are" in said()[-1]


def test_factors_for_another_graph_are_one_line(model):
    with pytest.raises(CalibrationError, match=r"r1 has 8 channels, .* for 3; run"):
        equalise(model, {"r1": np.ones(3, np.float32)})


def test_a_calibration_equalises_the_graph_it_is_applied_to(uneven_model, rainy):
    factors = find_factors(uneven_model, map(Shot, rainy[:3]))
    changed = uneven_model.clone()
    equalise(changed, factors)
    layers = find_layers(uneven_model)
    observations, macs = observe(changed, layers, map(Shot, rainy[:3]))
    ranges = {name: seen.histogram.largest for name, seen in observations.items()}
    keys = tensor_keys(layers)
    made = Calibration(
        graph=fingerprint(uneven_model),
        method="minmax",
        ranges={keys[name]: reach for name, reach in ranges.items()},
        means={},
        int8=tuple(layer.name for layer in layers),
        macs=macs,
        factors={keys[name]: factor.tolist() for name, factor in factors.items()},
    )
    insert_qdq(changed, ranges, set(made.int8))
    apply_calibration(made, uneven_model)
    assert np.array_equal(levels(uneven_model, rainy[4]), levels(changed, rainy[4]))
