"""The machine, its state and its energy, read from made-up system files."""

from dataclasses import replace

import pytest

from derain.benchmarks.latency.conditions import compare_snapshots, take_snapshot
from derain.benchmarks.latency.machine import describe_machine
from derain.benchmarks.latency.power import find_meter


def at(root, contents):
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_jetson_says_what_it_is(tmp_path):
    at(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
            "proc/meminfo": "MemTotal:        7802000 kB\n",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\nmore\n",
            "var/lib/nvpmodel/status": "pmode:0001\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n"
            "< POWER_MODEL ID=1 NAME=7W >\n",
        },
    )
    machine = describe_machine(root=tmp_path)
    assert machine.device == "NVIDIA Jetson Orin Nano"
    assert machine.power_mode == "7W"
    assert machine.board == "# R36 (release), REVISION: 4.0"
    assert machine.memory_bytes == 7802000 * 1024


def test_a_machine_without_any_file_has_no_figures(tmp_path):
    machine = describe_machine(root=tmp_path)
    assert machine.board is None
    assert machine.power_mode is None
    snapshot = take_snapshot(root=tmp_path)
    assert snapshot.clocks_mhz == snapshot.celsius == {}
    assert snapshot.load is None


def test_a_snapshot_reads_clocks_temperatures_and_load(tmp_path):
    cpu = "sys/devices/system/cpu/cpu"
    at(
        tmp_path,
        {
            f"{cpu}0/cpufreq/scaling_cur_freq": "1500000",
            f"{cpu}1/cpufreq/scaling_cur_freq": "2500000",
            f"{cpu}0/cpufreq/scaling_governor": "schedutil\n",
            f"{cpu}0/thermal_throttle/core_throttle_count": "3\n",
            "sys/class/thermal/thermal_zone0/type": "tj-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "61500\n",
            "proc/stat": "cpu  1000 0 500 9000 0 0 0 200 0 0\n",
            "proc/loadavg": "1.50 1.0 0.5 1/100 1\n",
        },
    )
    snapshot = take_snapshot(root=tmp_path)
    assert snapshot.clocks_mhz == {"processor": 2000}
    assert snapshot.celsius == {"tj-thermal": 61.5}
    assert snapshot.governors == ["schedutil"]
    assert (snapshot.busy_s, snapshot.steal_s, snapshot.load) == (15.0, 2.0, 1.5)
    assert snapshot.throttled == 3


def test_a_quiet_machine_has_no_warnings(snapshot):
    after = replace(snapshot, seconds=1100.0, busy_s=600.0, own_s=110.0)
    conditions = compare_snapshots(snapshot, after, 2)
    assert conditions.warnings == []
    assert conditions.others_share == 0.0


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"busy_s": 660.0}, "other programs took 30% of the processors"),
        ({"steal_s": 40.0}, "kept 20% of it back"),
        ({"governors": ["schedutil"]}, "jetson_clocks"),
        ({"celsius": {"cpu": 90.0}}, "cpu is at 90 degrees"),
        ({"throttled": 2}, "slowed down for heat 2 times"),
        ({"gpu_throttles": ["power cap"]}, "held down: power cap"),
        ({"clocks_mhz": {"processor": 2000}}, "fell from 3000 to 2000 MHz"),
    ],
)
def test_what_spoils_the_figures_is_a_warning(snapshot, changes, warning):
    quiet = replace(snapshot, seconds=1100.0, busy_s=600.0, own_s=110.0)
    (got,) = compare_snapshots(snapshot, replace(quiet, **changes), 2).warnings
    assert warning in got


def test_a_machine_without_sensors_has_no_meter(tmp_path):
    assert find_meter(tmp_path) is None


def test_rapl_counts_on_when_its_counter_wraps(tmp_path):
    zone = "class/powercap/intel-rapl:0"
    at(
        tmp_path,
        {
            f"{zone}/name": "package-0",
            f"{zone}/energy_uj": "9000000",
            f"{zone}/max_energy_range_uj": "10000000",
        },
    )
    meter = find_meter(tmp_path)
    assert meter.description == "RAPL package-0"
    before = meter.joules()
    at(tmp_path, {f"{zone}/energy_uj": "2000000"})
    assert meter.joules() - before == pytest.approx(3.0)


def test_a_part_of_a_package_is_not_counted_twice(tmp_path):
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        at(
            tmp_path / "class/powercap" / zone,
            {"name": zone, "energy_uj": "0", "max_energy_range_uj": "9"},
        )
    assert find_meter(tmp_path).description == "RAPL intel-rapl:0"


def test_a_jetsons_supply_is_sampled(tmp_path, until):
    hwmon = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    at(
        tmp_path / hwmon,
        {
            "in1_label": "VDD_IN",
            "in1_input": "5000",
            "curr1_input": "1600",
            "in2_label": "VDD_CPU_GPU_CV",
            "in2_input": "5000",
            "curr2_input": "800",
        },
    )
    meter = find_meter(tmp_path)
    assert meter.description == "INA3221 VDD_IN"
    assert meter.watts() == pytest.approx(8.0)
    until(lambda: meter.joules() > 0)
    meter.close()
