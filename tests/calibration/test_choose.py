"""``--method auto``: what measured best is taken, as a whole and tensor by tensor."""

import pytest

from derain.calibration import choose
from derain.calibration.choose import choose_ranges
from derain.calibration.frame_store import FrameStore
from derain.calibration.layers import find_layers
from derain.calibration.observers import observe
from derain.calibration.ranges import METHODS, RangeMethod
from derain.core.sizes import Size

COARSE = 40.0  # times too far: INT8 has three steps left of 127


@pytest.fixture
def store(footage):
    with FrameStore() as store:
        store.collect(str(footage), Size(48, 32), dry=False, count=6)
        yield store


@pytest.fixture
def choose_among(model, store, monkeypatch, said):
    """What ``auto`` takes of the methods made by ``make(observations)``."""

    def run(make):
        layers = find_layers(model)
        observations, _ = observe(model, layers, store.shots())
        methods = make(observations)
        rows = {name: RangeMethod(find, "") for name, find in methods.items()}
        monkeypatch.setattr(choose, "METHODS", rows)
        method, ranges = choose_ranges("auto", model, layers, observations, None, store)
        return method, ranges, observations, said()

    return run


@pytest.mark.parametrize("good", METHODS)
def test_auto_takes_the_method_that_measured_best(choose_among, good):
    def methods(observations):
        return {
            name: lambda h, much=1.0 if name == good else COARSE: h.largest * much
            for name in METHODS
        }

    method, ranges, observations, said = choose_among(methods)
    assert method == f"auto: {good}"
    assert ranges == {k: seen.histogram.largest for k, seen in observations.items()}
    assert len(said) == len(METHODS) + 1


def test_auto_takes_for_each_tensor_the_range_with_the_least_error(choose_among):
    def methods(observations):
        mine = {id(observations[x].histogram) for x in ("image", "r1")}

        def of(good):
            return lambda h: h.largest * (1.0 if (id(h) in mine) is good else COARSE)

        return {"image and r1": of(True), "r0 and r2": of(False)}

    method, ranges, observations, _ = choose_among(methods)
    assert method == "auto: each tensor's best"
    assert ranges == {k: seen.histogram.largest for k, seen in observations.items()}
