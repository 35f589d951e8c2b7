"""Memory, temperatures and power, read from a tree of files like the kernel's."""

import os
from pathlib import Path

import pytest

from derain.runtime.telemetry.sensors import Sensors


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_jetson(tmp_path):
    write(tmp_path / "proc/self/statm", "5000 1234 600 1 0 900 0\n")
    zones = tmp_path / "sys/class/thermal"
    write(zones / "thermal_zone0/type", "cpu-thermal\n")
    write(zones / "thermal_zone0/temp", "51500\n")
    write(zones / "thermal_zone1/type", "gpu-thermal\n")  # asleep: no value
    rails = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    write(rails / "in1_label", "VDD_IN\n")
    write(rails / "in1_input", "5000\n")
    write(rails / "curr1_input", "1500\n")
    write(rails / "in7_label", "sum of shunt voltages\n")
    assert Sensors(tmp_path).read() == {
        "memory_bytes": 1234 * os.sysconf("SC_PAGE_SIZE"),
        "temperature_c": {"cpu-thermal": 51.5},
        "power_w": {"VDD_IN": 7.5},
    }


def test_a_machine_that_tells_nothing(tmp_path):
    assert Sensors(tmp_path).read() == {
        "memory_bytes": None,
        "temperature_c": {},
        "power_w": {},
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_this_process_has_memory():
    assert Sensors().read()["memory_bytes"] > 10_000_000
