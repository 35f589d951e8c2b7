"""The checks, on machines made of files and answers."""

import dataclasses
import json
import sys

import pytest

from derain.core.bundle import Bundle
from derain.core.sizes import Size
from derain.runtime.backends import BACKENDS
from derain.runtime.doctor import (
    bundle_fit,
    decoders,
    media,
    nvidia,
    resources,
    software,
)
from derain.runtime.doctor.checks import CHECKS, run_checks
from derain.runtime.doctor.machine import Answer, CheckContext, Finding
from support.memory_network import Fading, Seeing, clip_of

GPU = {
    "name": "Orin",
    "compute_capability": "8.7",
    "driver": "12.6",
    "runtime": "12.6",
    "memory_bytes": 1 << 34,
    "integrated": True,
    "multiprocessors": 8,
}


class FakeMachine:
    """Files under `root`; programs answer what is asked for by a part of their words.

    A Python that nobody has an answer for fails, as where nothing is installed.
    """

    def __init__(self, root, files=None, answers=None):
        self.root = root
        self.answers = answers or {}
        for name, text in (files or {}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *command):
        words = " ".join(command)
        for part, answer in self.answers.items():
            if part in words:
                return answer if isinstance(answer, Answer) else Answer(0, answer)
        if command[0] == sys.executable:
            return Answer(1, "", "Traceback\nModuleNotFoundError: No module named 'x'")
        return None


@pytest.fixture
def context(tmp_path):
    """Makes a machine: ``context(files={...}, answers={...}, bundle=path)``."""

    def make(files=None, answers=None, bundle=None):
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        opened = Bundle.open(bundle) if bundle else None
        return CheckContext(FakeMachine(root, files, answers), opened)

    return make


L4T = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


def test_no_check_fails_on_a_machine_with_nothing(context):
    findings = run_checks(context(), slow=True)
    assert len(findings) == len([check for check in CHECKS if not check.of_bundle])
    assert not [name for name, f in findings.items() if "the check fails" in f.found]
    assert findings["packages"].status == "missing"
    assert findings["Python"].status == "ok"


def test_no_check_fails_with_a_bundle(context, bundles):
    findings = run_checks(context(bundle=bundles("darken")))
    assert {"bundle", "precision", "engines"} <= findings.keys()
    assert not [name for name, f in findings.items() if "the check fails" in f.found]


@pytest.mark.parametrize(("needed", "status"), [(True, "missing"), (False, "warn")])
def test_a_check_that_raises_is_a_finding(context, monkeypatch, needed, status):
    from derain.runtime.doctor import checks

    def broken(context):
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr(resources, "check_disk", broken)
    row = checks.Check("disk", "resources", "check_disk", needed=needed)
    monkeypatch.setattr(checks, "CHECKS", (row,))
    finding = run_checks(context())["disk"]
    assert finding.status == status
    assert finding.found == "the check fails: ZeroDivisionError: of all things"


def test_every_fix_of_a_bare_machine_is_told(context):
    for name, finding in run_checks(context()).items():
        assert finding.status != "missing" or finding.fix, name


def test_packages_that_are_there(context):
    lines = "\n".join(
        json.dumps([name, "1.0", ""]) for name in ("click", "cv2", "numpy")
    )
    told = f'{lines}\n["onnxruntime", "1.20", ""]'
    finding = software.check_packages(context(answers={"import_module": told}))
    assert finding.status == "ok"
    assert finding.found == "click 1.0, cv2 1.0, numpy 1.0, onnxruntime 1.20"


def test_a_package_that_kills_python(context):
    died = Answer(-11, '["click", "8.0", ""]', "")
    finding = software.check_packages(context(answers={"import_module": died}))
    assert finding.status == "missing"
    assert "click:" not in finding.found
    assert finding.fix.startswith(
        "pip install --force-reinstall opencv-python-headless"
    )


def test_packages_over_each_other(context, monkeypatch):
    there = {"onnxruntime": "1.20", "onnxruntime-gpu": "1.20"}
    monkeypatch.setattr(software, "installed", there.get)
    finding = software.check_conflicts(context())
    assert finding.status == "warn"
    assert finding.found == (
        "onnxruntime and onnxruntime-gpu are installed over each other"
    )
    assert finding.fix == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


def test_ffmpeg_without_an_encoder(context):
    told = '["15.0", [61, 19, 101], ["h264"], []]'
    finding = software.check_pyav(context(answers={"import av": told}))
    assert finding.status == "warn"
    assert finding.found.endswith("it cannot encode H.264")


def test_jetpack(context):
    machine = context(
        files={
            "etc/nv_tegra_release": L4T,
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        },
        answers={"dpkg-query": "6.2+b77"},
    )
    finding = nvidia.check_jetpack(machine)
    assert finding.status == "ok"
    assert finding.found == "NVIDIA Jetson Orin Nano, L4T 36.4.3, JetPack 6.2+b77"


@pytest.mark.parametrize(
    ("release", "jetpack"), [("R38", "JetPack 7;"), ("R39", "JetPack 7.2;")]
)
def test_newer_jetpacks_are_known(context, release, jetpack):
    text = L4T.replace("R36", release)
    finding = nvidia.check_jetpack(context(files={"etc/nv_tegra_release": text}))
    assert jetpack in finding.found


def test_a_jetson_without_jetpack(context):
    finding = nvidia.check_jetpack(context(files={"etc/nv_tegra_release": L4T}))
    assert (finding.status, finding.fix) == ("warn", "sudo apt install nvidia-jetpack")


def test_an_old_jetpack(context):
    old = L4T.replace("R36", "R35")
    machine = context(
        files={"etc/nv_tegra_release": old}, answers={"dpkg-query": "5.1.2"}
    )
    assert nvidia.check_jetpack(machine).fix == "flash JetPack 6: TensorRT 10 is needed"


def test_no_jetson(context):
    assert nvidia.check_jetpack(context()).status == "absent"


def test_tensorrt_that_the_environment_does_not_see(context, monkeypatch):
    monkeypatch.setattr(nvidia, "_is_there", lambda module: False)
    where = "usr/lib/python3.10/dist-packages/tensorrt"
    finding = nvidia.check_tensorrt(context(files={f"{where}/__init__.py": ""}))
    assert finding.status == "warn"
    assert where in finding.found
    assert finding.fix.startswith("python3 -m venv --system-site-packages")


def test_tensorrt_that_is_there(context):
    told = "10.3.0, /usr/lib/python3.10/dist-packages/tensorrt/__init__.py"
    finding = nvidia.check_tensorrt(context(answers={"import tensorrt as": told}))
    assert (finding.status, finding.found) == ("ok", told)


def test_tensorrt_that_does_not_load(context, monkeypatch):
    monkeypatch.setattr(nvidia, "_is_there", lambda module: True)
    error = Answer(1, "", "Traceback\nImportError: libnvinfer.so.10: cannot open")
    finding = nvidia.check_tensorrt(context(answers={"import tensorrt as": error}))
    assert finding.status == "warn"
    assert finding.found.endswith("ImportError: libnvinfer.so.10: cannot open")


@pytest.mark.parametrize(("files", "status"), [({}, "absent"), (1, "warn")])
def test_a_gpu_is_missed_on_a_jetson_only(context, files, status):
    files = files and {"etc/nv_tegra_release": L4T}
    error = Answer(1, "", "no GPU: no driver; install NVIDIA's driver, or a newer one")
    finding = nvidia.check_gpu(context(files, {"import probe": error}))
    assert finding.status == status
    assert finding.found == "no GPU: no driver"
    assert finding.fix == "install NVIDIA's driver, or a newer one"


SUPER = """
# < POWER_MODEL ID=9 NAME=MAXN_COMMENT >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
"""


@pytest.mark.parametrize(
    ("table", "fastest"),
    [
        (SUPER, ("2", "MAXN_SUPER")),
        (
            "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=3 NAME=50W >",
            ("0", "MAXN"),
        ),
        ("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >", ("0", "15W")),
        ("", None),
    ],
    ids=["Orin Nano Super", "AGX Orin", "Orin Nano", "no table"],
)
def test_the_number_of_the_fastest_mode_is_read(context, table, fastest):
    assert nvidia._fastest_mode(context({"etc/nvpmodel.conf": table})) == fastest


def test_the_fastest_mode_there_is_needs_no_other(context):
    table = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >"
    files = {GOVERNOR.format(0): "schedutil\n", "etc/nvpmodel.conf": table}
    answers = {"nvpmodel": "NV Power Mode: 15W\n0"}
    finding = nvidia.check_power(context(files=files, answers=answers))
    assert finding.fix == "sudo jetson_clocks"


@pytest.mark.parametrize(
    ("files", "architecture", "smi", "fix"),
    [
        ({"etc/nv_tegra_release": L4T}, "aarch64", None, "derain[jetpack6]"),
        (
            {"etc/nv_tegra_release": L4T.replace("R36", "R39")},
            "aarch64",
            None,
            "derain[jetpack7]",
        ),
        ({}, "x86_64", "GPU 0: NVIDIA GeForce RTX 4090", "derain[tensorrt-rtx]"),
        ({}, "x86_64", None, "derain[openvino]"),
        ({}, "aarch64", None, ""),
    ],
    ids=["JetPack 6", "JetPack 7.2", "PC with a GPU", "PC", "ARM board"],
)
def test_advice_is_by_architecture(context, files, architecture, smi, fix):
    answers = {"nvidia-smi -L": smi} if smi else {}
    machine = dataclasses.replace(context(files, answers), architecture=architecture)
    finding = nvidia.check_fastest_backend(machine)
    assert fix in finding.fix
    assert (finding.fix == "") == (fix == "")
    there = {**answers, "import ": ""}
    machine = dataclasses.replace(context(files, there), architecture=architecture)
    assert nvidia.check_fastest_backend(machine).status == "ok"


def test_int8_is_for_what_computes_in_it(context, bundles, monkeypatch):
    row = dataclasses.replace(BACKENDS["openvino"], precisions=("fp32", "int8"))
    monkeypatch.setitem(BACKENDS, "openvino", row)
    finding = bundle_fit.check_bundle_precision(context(bundle=bundles("int8")))
    assert finding.status == "warn"
    assert "derain[openvino]" in finding.fix
    machine = context(answers={" openvino": "openvino 1.0"}, bundle=bundles("int8"))
    finding = bundle_fit.check_bundle_precision(machine)
    assert (finding.status, finding.found) == ("ok", "int8, as openvino 1.0 computes")


def test_backends_that_work_and_that_do_not(context):
    told = {" openvino": "openvino 2.0", " onnxruntime": "onnxruntime 1.0"}
    machine = context(answers=told)
    finding = software.check_backends(machine)
    assert finding.status == "ok"
    assert finding.found.startswith("onnxruntime (onnxruntime 1.0); ")
    assert "; openvino (openvino 2.0); not tensorrt, tensorrt-rtx" in finding.found
    finding = software.check_backends(context())
    assert (finding.status, finding.fix) == ("missing", "pip install onnxruntime")
    assert finding.found == "none: ModuleNotFoundError: No module named 'x'"


GOVERNOR = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


def test_a_power_mode_below_the_fastest(context):
    finding = nvidia.check_power(
        context(
            files={
                GOVERNOR.format(0): "schedutil\n",
                GOVERNOR.format(1): "schedutil\n",
            },
            answers={"nvpmodel": "NV Power Mode: 15W\n0"},
        )
    )
    assert finding.fix.startswith("choose a mode from /etc/nvpmodel.conf")
    finding = nvidia.check_power(
        context(
            files={"etc/nvpmodel.conf": SUPER},
            answers={"nvpmodel": "NV Power Mode: 15W\n0"},
        )
    )
    assert finding.status == "warn"
    assert finding.found == (
        "power mode 15W; processor clocks: schedutil; not the fastest"
    )
    assert finding.fix == "sudo nvpmodel -m 2 && sudo jetson_clocks"


def test_the_fastest_power_mode(context):
    finding = nvidia.check_power(
        context(
            files={GOVERNOR.format(0): "performance\n"},
            answers={"nvpmodel": "NV Power Mode: MAXN_SUPER\n2"},
        )
    )
    assert finding.status == "ok"


def test_gstreamer_and_its_hardware(context):
    answers = {
        "gst-launch-1.0 --version": "gst-launch-1.0 version 1.20.3\nGStreamer 1.20.3",
        "--exists nvv4l2decoder": "",
        "--exists nvarguscamerasrc": "",
        "--exists fdsink": "",
        "--exists videoconvert": "",
        "--exists y4menc": "",
        "gst-inspect-1.0": Answer(1, ""),
    }
    finding = media.check_gstreamer(context(answers=answers))
    assert finding.status == "ok"
    assert finding.found == (
        "1.20.3; hardware elements: nvarguscamerasrc, nvv4l2decoder"
    )
    del answers["--exists y4menc"]
    assert "without y4menc" in media.check_gstreamer(context(answers=answers)).found


def test_cameras(context, monkeypatch):
    machine = context(
        files={
            "dev/video0": "",
            "dev/video2": "",
            "sys/class/video4linux/video0/name": "HD Webcam\n",
            "proc/77/comm": "cheese\n",
        }
    )
    descriptors = machine.machine.root / "proc/77/fd"
    descriptors.mkdir()
    (descriptors / "9").symlink_to("/dev/video0")
    monkeypatch.setattr("os.access", lambda path, mode: path.name == "video0")
    finding = media.check_cameras(machine)
    assert finding.status == "warn"
    assert finding.found == (
        "/dev/video0 (HD Webcam) is in use by cheese (77); "
        "/dev/video2 (unnamed) may not be used by this user"
    )
    assert finding.fix == "sudo usermod -aG video $USER, and log in again"


MEMORY = "MemTotal:  {} kB\nMemFree: 1 kB\nMemAvailable: {} kB\n"


@pytest.mark.parametrize(
    ("free_gib", "status"), [(4, "ok"), (0.5, "warn")], ids=["enough", "little"]
)
def test_memory(context, free_gib, status):
    text = MEMORY.format(8 << 20, int(free_gib * (1 << 20)))
    finding = resources.check_memory(context(files={"proc/meminfo": text}))
    assert finding.status == status
    assert finding.found == f"{free_gib:.1f} GiB free of 8.0"


def test_a_bundle_that_cannot_fit(context, bundles):
    machine = context(
        {"proc/meminfo": MEMORY.format(100, 40)}, bundle=bundles("darken")
    )
    finding = bundle_fit.check_bundle_size(machine)
    assert finding.status == "missing"
    assert "smaller --size" in finding.fix


def test_a_bundle_that_fits(context, bundles):
    text = MEMORY.format(8 << 20, 4 << 20)
    machine = context({"proc/meminfo": text}, bundle=bundles("darken"))
    finding = bundle_fit.check_bundle_size(machine)
    assert finding.status == "ok"
    assert finding.found.startswith("qsnet, fp32, frames of 64x48; at least ")


def test_what_a_bundle_remembers(context, tmp_path, bundles):
    size = Size(640, 480)
    clip = clip_of(4, size)
    found = [
        bundle_fit.check_bundle_states(
            context(bundle=network(str(size)).bundle(tmp_path / name, clip))
        )
        for name, network in (("fading", Fading), ("seeing", Seeing))
    ]
    # A frame of bytes, and a quarter of one of floats; two frames.
    assert found[0] == Finding("ok", "2 states, 2 x 1.8 MiB a camera at 640x480")
    assert found[1].found == (
        "2 states, 2 x 1.8 MiB a camera at 640x480; pictures come 1 frame late "
        "(look-ahead), 33 ms at 30 frames/s"
    )
    alone = bundle_fit.check_bundle_states(context(bundle=bundles("darken")))
    assert alone == Finding("ok", "none: each frame is derained by itself")


def test_states_need_memory_too(context, tmp_path):
    size = Size(640, 480)
    bundle = Seeing(str(size)).bundle(tmp_path / "b", clip_of(4, size))
    finding = bundle_fit.check_bundle_size(context(bundle=bundle))
    assert "at least 11 MiB" in finding.found  # 7.0 without


def test_half_precision_without_a_gpu(context, bundles):
    finding = bundle_fit.check_bundle_precision(context(bundle=bundles("fp16")))
    assert finding.status == "warn"
    assert "--fp32" in finding.fix


def test_half_precision_with_a_gpu(context, bundles):
    answers = {"check_backend(sys.argv[1])": "tensorrt 10.3.0 on Orin"}
    machine = context(answers=answers, bundle=bundles("fp16"))
    assert bundle_fit.check_bundle_precision(machine).status == "ok"


def test_a_bundle_without_an_engine_where_one_could_be(context, bundles):
    answers = {"import tensorrt as library": json.dumps(["10.3.0", GPU])}
    machine = context(answers=answers, bundle=bundles("darken"))
    finding = bundle_fit.check_bundle_engines(machine)
    assert finding.status == "absent"
    assert finding.found.endswith("has no tensorrt engine")
    assert finding.fix == f"derain-compile {bundles('darken')} --backend tensorrt"


def test_a_bundle_whose_engine_is_for_another_gpu(context, bundles, tmp_path):
    import shutil

    from derain.core.bundle import MODEL_FILE
    from derain.runtime.tensorrt.engine_record import PLATFORM

    folder = shutil.copytree(bundles("darken"), tmp_path / "copy")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["engines"] = [
        {
            "file": "a.plan",
            "sha256": "0",
            "bytes": 1,
            "backend": "tensorrt",
            "version": "10.3.0",
            "platform": PLATFORM,
            "gpu": "Thor",
            "compute_capabilities": ["11.0"],
            "driver": "13.0",
            "cuda": "13.0",
            "onnx_sha256": manifest["files"][MODEL_FILE],
            "sizes": "64x48",
        }
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    answers = {"import tensorrt as library": json.dumps(["10.3.0", GPU])}
    finding = bundle_fit.check_bundle_engines(context(answers=answers, bundle=folder))
    assert finding.status == "warn"
    assert "was built for tensorrt 10.3.0, Thor (11.0)" in finding.found
    assert "this is tensorrt 10.3.0, Orin (8.7)" in finding.found
    assert finding.fix.startswith("derain-compile ")


def test_decoders_that_work_are_measured(context):
    answers = {
        "with av.open(sys.argv[1]": "",  # makes the clip
        "clip.h264  cuda": f"{decoders.FRAMES} 0.5",
        "clip.h264  vaapi": Answer(1, "", "RuntimeError: no device"),
        "clip.h264  ": f"{decoders.FRAMES} 2.0",
    }
    finding = decoders.measure_decoders(context(answers=answers))
    assert finding.found == ("H.264 1280x720: processor 60 frames/s, cuda 240 frames/s")
