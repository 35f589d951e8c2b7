"""What is counted, and how percentiles and rates are made of it."""

import json
import threading

import pytest

from derain.runtime.telemetry.statistics import SinkStatistics, Statistics


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_counters_from_many_threads_add_up():
    statistics = Statistics()
    timing = statistics.derain

    def work():
        for _ in range(2000):
            statistics.count("captured")
            timing.add(1)
            timing.percentiles() if timing.count % 500 == 0 else None

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statistics["captured"] == 8000
    assert timing.count == 8000


def test_the_rate_is_of_the_last_five_seconds():
    clock = Clock()
    statistics = Statistics(clock)
    assert statistics.fps == 0
    for _ in range(20):  # two seconds at ten a second
        clock.now += 0.1
        statistics.count("derained")
    assert statistics.fps == pytest.approx(10)
    for _ in range(200):
        clock.now += 0.05
        statistics.count("passed_through")
    assert statistics.fps == pytest.approx(20, rel=0.02)
    clock.now += 6
    assert statistics.fps == 0


def test_a_rate_above_what_is_kept():
    clock = Clock()
    statistics = Statistics(clock)
    for _ in range(10_000):
        clock.now += 0.001
        statistics.count("derained")
    assert statistics.fps == pytest.approx(1000, rel=0.01)


def test_all_of_it_is_json():
    statistics = Statistics()
    statistics.sinks.append(SinkStatistics("out.mp4"))
    statistics.sinks[0].age.add(12.5)
    values = json.loads(json.dumps(statistics.as_dict()))
    assert values["age_ms"] == {"p50": 12.5, "p95": 12.5, "p99": 12.5}
    assert values["captured"] == 0
    assert values["signal"] is True
    assert values["sinks"][0]["sink"] == "out.mp4"
    assert {"memory_bytes", "temperature_c", "power_w"} <= values.keys()
