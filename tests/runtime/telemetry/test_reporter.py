"""Statistics as lines and as metrics."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from derain.core.errors import ConfigError
from derain.runtime.telemetry.metrics_server import MetricsServer, health
from derain.runtime.telemetry.prometheus import prometheus_text
from derain.runtime.telemetry.reporter import Reporter, json_line, text_line
from derain.runtime.telemetry.roster import Roster
from derain.runtime.telemetry.statistics import About, SinkStatistics, Statistics


@pytest.fixture
def statistics():
    statistics = Statistics()
    statistics.count("captured", 5)
    statistics.count("derained", 3)
    statistics.count("dropped", 2)
    statistics.derain.add(12)
    statistics.sinks.append(SinkStatistics('a "b"'))
    statistics.sinks[0].age.add(40)
    return statistics


@pytest.fixture
def remembering(statistics):
    """Those of a network with memory, with all that can be said."""
    statistics.count_resets()
    statistics.load, statistics.gate, statistics.rain = 0.5, "dry", 1.0
    statistics.about = About(source="s", bundle="b", backend="o", version="1")
    return statistics


def test_a_line_for_machines(statistics):
    line = json_line(statistics.as_dict())
    assert "\n" not in line
    values = json.loads(line)
    assert (values["captured"], values["derained"], values["dropped"]) == (5, 3, 2)


def test_a_line_for_people(statistics):
    statistics.gate, statistics.signal = "dry", False
    line = text_line(statistics.as_dict())
    assert re.match(r"\d+\.\d frames/s, 5 captured, 3 derained, 2 dropped, 0 ", line)
    for part in ("0 reconnects", "no signal", "gate: dry"):
        assert part in line
    assert "p50/p95/p99 in ms: derain 12.0/12.0/12.0, age 40.0/40.0/40.0" in line


def test_a_line_has_every_stage_in_the_order_of_a_frame(statistics):
    sink = statistics.sinks[0]
    for timing in (statistics.read, statistics.wait, sink.wait, sink.write):
        timing.add(1)
    stages = re.search("in ms: (.*?age [0-9./]+)", text_line(statistics.as_dict()))[1]
    names = [stage.rpartition(" ")[0] for stage in stages.split(", ")]
    assert names == ["read", "wait", "derain", "sink wait", "write", "age"]


def test_every_key_stands_in_the_documents(remembering):
    statistics = remembering
    document = Path(__file__).parents[3] / "docs" / "statistics.md"
    if not document.exists():
        pytest.skip("docs/ is not beside these tests")
    text = document.read_text(encoding="utf-8")
    values = statistics.as_dict()
    for key in {*values, *values["sinks"][0]}:
        assert f"`{key}`" in text, key
    for name in re.findall("# TYPE ([a-z_]+)", prometheus_text(statistics)):
        assert f"`{name}`" in text, name


def test_lines_come_while_it_runs_and_at_the_end(statistics):
    lines, second = [], threading.Event()

    def write(line):
        lines.append(line)
        if len(lines) == 2:
            second.set()

    with Reporter(statistics, "json", 0.01, write):
        assert second.wait(120)
        statistics.count("captured")
    assert json.loads(lines[0])["captured"] == 5
    assert json.loads(lines[-1])["captured"] == 6


SAMPLE = re.compile(
    r'[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? -?[0-9.e+-]+'
)


def test_every_line_of_the_metrics_is_well_formed(remembering):
    statistics = remembering
    text = prometheus_text(statistics)
    assert text.endswith("\n")
    typed, helped = set(), set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, help = line.removeprefix("# HELP ").partition(" ")
            assert name not in helped
            assert help.endswith(".")
            helped.add(name)
        elif line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed  # one block for each metric
            typed.add(name)
        else:
            assert SAMPLE.fullmatch(line), line
            name = re.match("[a-z_]+", line)[0]
            assert name in typed or re.sub("_(sum|count)$", "", name) in typed, line
    assert typed == helped


def test_metrics_have_counters_and_seconds(statistics):
    lines = prometheus_text(statistics).splitlines()
    assert "derain_captured_total 5" in lines
    assert 'derain_stage_seconds{stage="derain",quantile="0.95"} 0.012000' in lines
    assert 'derain_stage_seconds_count{stage="derain"} 1' in lines
    assert r'derain_frame_age_seconds_sum{sink="a \"b\""} 0.040000' in lines


def test_whether_a_sink_has_failed_is_a_gauge(statistics):
    """It is no count: 1 or 0."""
    statistics.sinks[0].failed = True
    lines = prometheus_text(statistics).splitlines()
    assert "# TYPE derain_sink_failed gauge" in lines
    assert r'derain_sink_failed{sink="a \"b\""} 1' in lines
    assert not [line for line in lines if "sink_failed_total" in line]


def test_metrics_are_served_and_nothing_else(statistics):
    with MetricsServer(statistics, "127.0.0.1", 0) as server:
        root = f"http://127.0.0.1:{server.port}"
        with urllib.request.urlopen(f"{root}/metrics", timeout=120) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
            assert b"derain_captured_total 5\n" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{root}/etc/passwd", timeout=120)
        assert caught.value.code == 404
        caught.value.close()


def test_a_port_that_is_taken_is_one_line(statistics):
    with MetricsServer(statistics, "127.0.0.1", 0) as server:
        message = f"metrics cannot be served at 127.0.0.1:{server.port}: Address alr"
        with pytest.raises(ConfigError, match=message):
            MetricsServer(statistics, "127.0.0.1", server.port)


def test_resets_are_told_by_cause_where_there_is_a_memory(statistics):
    assert "resets" not in text_line(statistics.as_dict())
    assert "derain_resets" not in prometheus_text(statistics)
    statistics.count_resets()
    assert "0 resets" in text_line(statistics.as_dict()).split(", ")
    statistics.count_reset("cut")
    statistics.count_reset("cut")
    statistics.count_resets()  # of another bundle: nothing is forgotten
    statistics.count_reset("source")
    assert "3 resets (1 source + 2 cut)" in text_line(statistics.as_dict()).split(", ")
    assert json.loads(json_line(statistics.as_dict()))["resets"] == {
        "source": 1,
        "size": 0,
        "cut": 2,
        "dropped": 0,
        "gate": 0,
        "nan": 0,
    }
    lines = prometheus_text(statistics).splitlines()
    assert "# TYPE derain_resets_total counter" in lines
    assert 'derain_resets_total{cause="cut"} 2' in lines
    assert 'derain_resets_total{cause="nan"} 0' in lines


def test_what_runs_is_a_metric(statistics):
    statistics.about = About(
        source="rtsp://h/1", bundle="qsnet-fp16", backend="TensorRT 10.3", version="9.9"
    )
    assert (
        'derain_info{source="rtsp://h/1",bundle="qsnet-fp16",backend="TensorRT 10.3",'
        'version="9.9"} 1'
    ) in prometheus_text(statistics).splitlines()


@pytest.fixture
def roster(statistics):
    """Two cameras, of which the second is still being opened."""
    roster, other = Roster(), Statistics()
    other.state, other.signal = "opening", False
    roster.put("yard", statistics)
    roster.put("gate", other)
    return roster


def test_each_camera_has_its_label_and_the_machine_none(roster):
    lines = prometheus_text(roster).splitlines()
    assert 'derain_captured_total{camera="yard"} 5' in lines
    assert 'derain_captured_total{camera="gate"} 0' in lines
    assert 'derain_state{camera="gate",state="opening"} 1' in lines
    assert 'derain_state{camera="yard",state="opening"} 0' in lines
    sample = r'derain_frame_age_seconds_count{camera="yard",sink="a \"b\""} 1'
    assert sample in lines
    memory = [line for line in lines if line.startswith("derain_resident_memory")]
    assert len(memory) == 1
    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    roster.remove("yard")
    assert 'camera="yard"' not in prometheus_text(roster)


def test_a_line_for_each_camera(roster):
    lines = []
    with Reporter(roster, "json", 60, lines.append):
        pass
    assert [json.loads(line)["camera"] for line in lines] == ["yard", "gate"]
    with Reporter(roster, "text", 60, lines.append):
        pass
    assert lines[2].startswith("yard: running, ")
    assert lines[3].startswith("gate: opening, ")


def test_health_is_that_of_the_loop_and_says_who_has_no_signal(roster, statistics):
    assert health(roster, 1.0) == (True, "ok\nyard: running\ngate: opening\n")
    statistics.signal = False
    assert health(statistics, 1.0) == (True, "ok, no signal\n")
    assert health(statistics, 61.0) == (
        False,
        "the frame loop has stood still for 61 s\n",
    )


def test_health_is_served(statistics):
    beat = [time.monotonic()]
    with MetricsServer(statistics, "127.0.0.1", 0, lambda: beat[0]) as server:
        address = f"http://127.0.0.1:{server.port}/healthz"
        with urllib.request.urlopen(address, timeout=120) as answer:
            assert answer.read() == b"ok\n"
        beat[0] -= 1000
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(address, timeout=120)
        assert caught.value.code == 503
        caught.value.close()
