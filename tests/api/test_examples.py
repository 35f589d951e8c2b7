"""The examples in the API's docstrings, run on tiny networks, frames and clips."""

import doctest
import importlib.util
import re
import shutil

import numpy as np
import pytest

import derain
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.core.synthetic.rain import LINES, PRESETS, render_rain
from derain.core.synthetic.street import Street
from support.documents import DOCS

pytest.importorskip("torch", reason="exporting needs derain[export]")
pytest.importorskip("av", reason="clips need derain[video]")

SIZE = Size(48, 32)
# What an example says, and what it means here.
TINY = {
    **dict.fromkeys(("1280x720", "640x360"), str(SIZE)),
    'export("qsnet"': "export(network",
    **dict.fromkeys(("rtsp://10.0.0.7/stream", "rtsp://10.0.0.8/stream"), "rainy.mp4"),
    "(720, 1280, 3)": "(32, 48, 3)",
    "qsnet-fp32-48x32": "qsnet-fp32",
    "qsnet-fp16-48x32": "qsnet-fp16",
    # A GPU to compile for where there is none.
    "workspace=512 << 20": "backend='tensorrt-rtx', compute_capability=['8.6']",
    # Enough to see that it measures, as `tests/benchmarks` do.
    "quick=True": "rows=['eager'], backends=['onnxruntime'], duration=0, min_rounds=1, "
    "warm_up=0.1, one_process=True",
    "\n        100\n": "\n        2\n",
}


@pytest.fixture(scope="module")
def bundles_of_examples(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for precision in ("fp32", "fp16"):
        output = folder / f"qsnet-{precision}"
        derain.export(net, size=SIZE, precision=precision, output=output)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, make_video):
    """What lies in the user's folder: clips, and pairs."""
    monkeypatch.chdir(tmp_path)
    scene = Street(SIZE)
    frames = [scene.frame(7 * k) for k in range(20)]
    rain = PRESETS["heavy"].scaled(SIZE.height / LINES)
    rainy = [render_rain(frame, rain, seed=k) for k, frame in enumerate(frames)]
    make_video("rainy.mp4", 20, SIZE, picture=lambda size, index: rainy[index])
    pairs = tmp_path / "rain800" / "test"
    pairs.mkdir(parents=True)
    for k in range(2):
        write_picture(pairs / f"{k}.png", np.hstack([frames[k], rainy[k]]))
    for kind, clip in (("rain", rainy), ("clean", frames)):
        (tmp_path / "a1" / kind).mkdir(parents=True)
        for k in range(2):
            write_picture(tmp_path / "a1" / kind / f"{k}.png", clip[k])
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("export", "calibrate", "compile", "load", "Derainer", "run", "benchmark"),
        *("evaluate", "models", "backends", "run_cameras", "watch"),
    ],
)
def test_example(name, here, net, rainy, request, monkeypatch):
    if name == "compile" and importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("compiling needs derain[tensorrt-rtx]")
    documented = getattr(derain, name)
    if name == "export":  # a room of the house, which can be called
        from derain.export.pipeline import export as documented
    if name == "models":
        from derain.models.registry import models as documented
    text = documented.__doc__
    assert ">>> " in text
    for said, here_said in TINY.items():
        text = text.replace(said, here_said)
    if "qsnet-fp" in text:
        made = request.getfixturevalue("bundles_of_examples")
        shutil.copytree(made, here, dirs_exist_ok=True)
    if name == "benchmark":
        monkeypatch.setattr(
            "derain.benchmarks.latency.benchmark.measure_peaks", lambda threads: []
        )
    known = {"network": net, "frame": rainy[0], "frames": rainy[:2]}
    example = doctest.DocTestParser().get_doctest(text, known, name, None, None)
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.skipif(not DOCS.is_dir(), reason="docs/ is not beside these tests")
def test_the_cameras_of_the_page(here, bundles_of_examples, capsys):
    shutil.copytree(bundles_of_examples, here, dirs_exist_ok=True)
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    text = re.search(r"(?s)```python\n(cameras = .*?)```", page)[1]
    for said, here_said in TINY.items():
        text = text.replace(said, here_said)
    exec(compile(text, "python.md", "exec"), {"derain": derain})
    said = capsys.readouterr().out.splitlines()
    for camera in ("yard", "gate"):
        frames = [f"{camera} {index} (32, 48, 3)" for index in range(20)]
        assert [line for line in said if line.startswith(camera)] == frames
    assert (here / "gate.mp4").exists()
