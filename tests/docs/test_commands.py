"""Every command in the documents: run on tiny things, or read as click reads it."""

import re
import shlex
import shutil
import sys

import click
import pytest

from support import documents
from support.documents import NOT_RUN, README_MARKS, RUN

if not documents.DOCS.is_dir():
    pytest.skip("docs/ is not beside these tests", allow_module_level=True)

FENCES = [fence for page in documents.pages() for fence in documents.fences(page)]
# Files that another command or a user is to make, and sizes for a test.
TINY = {"640x480": "64x48", "320x240": "48x32", "1280x720,": "96x64,"}
TINY |= {"64x48,1280x720": "64x48,96x64"}
OTHER_PROGRAMS = ("docker", "pip", "python", "ray", "v4l2-ctl")
# Options of other programs that pages name.
OTHERS = {
    *("--system-site-packages", "--ipc", "--no-deps", "--wheel", "--outdir", "--check"),
    *("--strict", "--head", "--address", "--model-repository", "--metrics"),
}
NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 1)
        )

    def forward(self, x):
        return x - 0.1 * self.body(x)
"""
PUBLISHED = """
import torch
from mynets.derainer import Net


def make(width):
    return Net(width)


class WithGuide(Net):
    def forward(self, x, guide):
        big = torch.nn.functional.interpolate(guide, scale_factor=2.0)
        return x - 0.1 * self.body(x) - 0.01 * big
"""
VIDEO = """
import torch
from mynets.derainer import Net


class Recurrent(Net):
    def states(self, height, width):
        return [(1, 3, height, width)]

    def forward(self, frame, before):
        new = 0.5 * before + 0.5 * frame
        return frame - 0.1 * self.body(new), new


class Windowed(Net):
    def forward(self, frames):  # (N, T*3, H, W)
        before, middle, after = frames.split(3, 1)
        return middle - 0.1 * self.body(before + after)
"""


def ids(fence):
    return fence.name


@pytest.mark.parametrize("fence", FENCES, ids=ids)
def test_a_fence_is_run_or_says_why_not(fence):
    marks = fence.mark in (RUN, *README_MARKS) or len(fence.mark) > len(NOT_RUN) + 4
    assert marks or fence.page.name in documents.NEEDS, f"{fence.name}: {fence.text}"
    if fence.mark.startswith("not run"):
        assert fence.mark.startswith(NOT_RUN)


@pytest.mark.parametrize("fence", [f for f in FENCES if f.commands()], ids=ids)
def test_options_and_values_are_those_of_the_command(fence):
    for name, *words in fence.commands():
        assert name in documents.names()
        try:
            documents.parse(documents.command(name), words, name)
        except click.UsageError as error:
            pytest.fail(f"{fence.name}: {shlex.join([name, *words])}: {error.message}")


@pytest.mark.parametrize("page", documents.pages(), ids=lambda page: page.stem)
def test_options_in_the_text_exist(page):
    known = set().union(
        *(documents.options(documents.command(n)) for n in documents.names())
    )
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for span in re.findall(r"`([^`\n]+)`", text):
        words = span.split()
        used = {w.split("=")[0] for w in words if re.match("--[a-z]", w)}
        if not used or words[0] in OTHER_PROGRAMS:
            continue
        own = known
        if words[0] in documents.names():
            own = documents.options(documents.command(words[0]))
        used = {re.sub("[^a-z0-9-].*", "", each) for each in used}
        assert used <= own | OTHERS, f"{page.name}: {span}"


def test_a_wrong_option_or_value_would_be_found():
    for words in (["--sise", "1x1"], ["--size", "x"], ["--model"], ["--opset", "99"]):
        with pytest.raises(click.UsageError):
            documents.parse(documents.command("derain-export"), words, "derain-export")
    with pytest.raises(click.UsageError, match="unexpected byte"):
        documents.parse(documents.command("derain-bench"), ["byte"], "derain-bench")


@pytest.fixture
def folder(tmp_path, bundles, make_video, picture_folder, monkeypatch):
    """A user's folder: a bundle, a video, pictures, networks and a checkpoint."""
    from derain.core.sizes import Size

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (
        "qsnet-fp16-1280x720",
        "rivulet-s-fp16-1280x720",
        "rivulet-s-fp16-any",
    ):
        shutil.copytree(bundles("any-identity"), tmp_path / name)
    make_video("rainy.mp4", 3, Size(64, 48))
    picture_folder("frames")
    package = tmp_path / "mynets"
    package.mkdir()
    for name, text in (
        *(("__init__", ""), ("derainer", NETWORKS)),
        *(("published", PUBLISHED), ("video", VIDEO)),
    ):
        (package / f"{name}.py").write_text(text)
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "mynets"]:
        del sys.modules[name]


RUNNING = [fence for fence in FENCES if fence.mark == RUN]


@pytest.mark.slow  # exports, a doctor's questions
@pytest.mark.parametrize("fence", RUNNING, ids=ids)
def test_what_is_marked_runs(fence, folder):
    torch = pytest.importorskip("torch", reason="exporting needs derain[export]")
    pytest.importorskip("av", reason="clips need derain[video]")
    from click.testing import CliRunner

    if "best.pth" in fence.text:
        from mynets.derainer import Net

        torch.manual_seed(0)
        torch.save(Net().state_dict(), "best.pth")
    commands = fence.commands()
    assert commands
    for name, *words in commands:
        for said, meant in TINY.items():
            words = [word.replace(said, meant) for word in words]
        result = CliRunner().invoke(documents.command(name), words)
        # What this machine lacks, the doctor says with status 1.
        wanted = (0, 1) if name == "derain-doctor" else (0,)
        assert result.exit_code in wanted, f"{name} {words}: {result.output}"
