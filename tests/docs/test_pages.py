"""The site: its pages, its messages, its notebook."""

import ast
import functools
import re

import pytest

from support import documents
from support.documents import DOCS, ROOT

if not DOCS.is_dir():
    pytest.skip("docs/ is not beside these tests", allow_module_level=True)

ROOMS = ("api", "batch", "calibration", "core", "export", "models", "runtime")
ROOMS += ("training", "benchmarks")


def _texts(node):
    """Strings of a program, with one space where a value is put in."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
        elif isinstance(each, ast.JoinedStr):
            parts = (
                p.value if isinstance(p, ast.Constant) else "{}" for p in each.values
            )
            yield "".join(map(str, parts))


@functools.cache
def messages():
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    found = (text for f in files for text in _texts(ast.parse(f.read_text("utf-8"))))
    return "\n".join(found)


def troubles():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^\| `([^`]+)` \|", text)


@pytest.mark.parametrize("message", troubles())
def test_a_message_of_the_troubleshooting_page_is_one_of_ours(message):
    assert message in messages()


def test_the_page_has_every_exit_status():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for status in ("| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 130, 143 |"):
        assert status in text


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        if not name.startswith("jetson/parts/"):
            assert name in listed, name


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in target or (ROOT / target).exists(), target


def test_the_readme_has_its_two_commands():
    marks = [f.mark for f in documents.fences(ROOT / "README.md")]
    assert marks == list(documents.README_MARKS)


def test_the_version_of_the_wheel_is_this_one():
    version = re.search(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text())
    for page in (DOCS / "jetson").glob("jetpack*.md"):
        assert f"derain-{version[1]}+runtime-py3" in page.read_text(encoding="utf-8")


@pytest.mark.slow  # a kernel of its own, and two exports
def test_the_notebook_runs():
    nbformat = pytest.importorskip("nbformat", reason="needs derain[docs]")
    nbclient = pytest.importorskip("nbclient", reason="needs derain[docs]")
    pytest.importorskip("torch", reason="exporting needs derain[export]")
    notebook = nbformat.read(DOCS / "tour.ipynb", 4)
    assert not any(c.get("outputs") for c in notebook.cells)  # nothing stale is kept
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [o for c in notebook.cells for o in c.get("outputs", ())]
    assert any("image/png" in o.get("data", {}) for o in shown)
