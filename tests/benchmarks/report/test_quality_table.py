import json

import pytest

from derain.benchmarks.report.quality_table import quality_rows
from derain.benchmarks.report.readme import fill_tables
from derain.core.errors import BenchmarkError

RAINY = {"psnr_db": 22.571, "ssim": 0.6892}


def write(folder, model, **candidates):
    folder.mkdir(exist_ok=True)
    answer = {
        name: {"pictures": 9, "psnr_db": psnr, "ssim": 0.8, "rainy": RAINY}
        for name, psnr in candidates.items()
    }
    (folder / f"{model}.json").write_text(json.dumps(answer))


def test_a_line_for_each_network_and_a_column_for_each_precision(tmp_path):
    write(tmp_path, "b", **{"b, PyTorch": 25.004, "/x/b-fp32-dynamic": 25.0})
    write(tmp_path, "a", **{"a, PyTorch": 24.0, "a-int8": 23.9})
    assert quality_rows(tmp_path) == [
        ["network", "pictures", "rainy", "PyTorch", "FP32 bundle", "INT8 bundle"],
        ["`a`", "9", "22.57 / 0.6892", "24.00 / 0.8000", "-", "23.90 / 0.8000"],
        ["`b`", "9", "22.57 / 0.6892", "25.00 / 0.8000", "25.00 / 0.8000", "-"],
    ]


def test_the_table_stands_between_its_marks(tmp_path):
    write(tmp_path / "test", "a", **{"a, PyTorch": 24.0})
    text = "A\n<!-- quality:test -->\nold\n<!-- /quality -->\nB"
    filled = fill_tables(text, tmp_path, tmp_path)
    assert "| `a` | 9 | 22.57 / 0.6892 | 24.00 / 0.8000 |" in filled
    assert "old" not in filled
    assert fill_tables(filled, tmp_path, tmp_path) == filled


def test_what_was_measured_later_joins_its_line(tmp_path):
    write(tmp_path, "a", **{"a, PyTorch": 24.0, "/x/a-fp16-dynamic": 24.01})
    write(tmp_path, "a-int8", **{"/x/a-int8-dynamic": 23.99})
    assert quality_rows(tmp_path)[1][3:] == [
        "24.00 / 0.8000",
        "24.01 / 0.8000",
        "23.99 / 0.8000",
    ]


def test_what_was_measured_later_is_of_the_same_pictures(tmp_path, monkeypatch):
    write(tmp_path, "a", **{"a, PyTorch": 24.0})
    monkeypatch.setitem(RAINY, "psnr_db", 22.6)
    write(tmp_path, "a-int8", **{"a-int8": 23.99})
    with pytest.raises(BenchmarkError, match="different pictures"):
        quality_rows(tmp_path)


def test_figures_of_different_pictures_are_no_row(tmp_path):
    write(tmp_path, "a", **{"a, PyTorch": 24.0, "a-fp16": 24.0})
    answer = json.loads((tmp_path / "a.json").read_text())
    answer["a-fp16"]["pictures"] = 8
    (tmp_path / "a.json").write_text(json.dumps(answer))
    with pytest.raises(BenchmarkError, match="different pictures"):
        quality_rows(tmp_path)


@pytest.mark.parametrize("content", [None, "[]", "{", '{"a, PyTorch": {"psnr_db": 1}}'])
def test_what_derain_eval_did_not_print_is_an_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(BenchmarkError, match=r"derain-eval --json"):
        quality_rows(tmp_path)
