from derain.core.memory import available_bytes

MEMINFO = "MemTotal:  100 kB\nMemAvailable:   60 kB\nSwapFree: 4 kB\n"


def _place(folder, **files):
    for name, text in {"meminfo": MEMINFO, **files}.items():
        (folder / name).write_text(text)
    return available_bytes(folder / "meminfo", folder)


def test_what_the_machine_has_left(tmp_path):
    assert _place(tmp_path) == 64 * 1024


def test_a_container_s_limit(tmp_path):
    limits = {"memory.max": "50000\n", "memory.current": "30000\n"}
    assert _place(tmp_path, **limits) == 20_000
    stat = {"memory.stat": "anon 5\ninactive_file 1000\n"}
    assert _place(tmp_path, **limits, **stat) == 21_000


def test_a_container_without_limit(tmp_path):
    limits = {"memory.max": "max\n", "memory.current": "30000\n"}
    assert _place(tmp_path, **limits) == 64 * 1024


def test_a_system_that_does_not_tell(tmp_path):
    assert _place(tmp_path, meminfo="nothing of the kind") is None
    assert available_bytes(tmp_path / "absent") is None
