"""The import of a library."""

import sys

import pytest

from derain.core.errors import EngineError
from derain.runtime.tensorrt import library
from derain.runtime.tensorrt.library import installed, open_api


def test_a_folder_of_stubs_is_no_library(tmp_path, monkeypatch):
    for name in library.MODULES.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.pyi").touch()
        monkeypatch.delitem(sys.modules, name, raising=False)  # of another test
    monkeypatch.setattr(library.importlib.util.sys, "path", [str(tmp_path)])
    assert installed() == []
    with pytest.raises(EngineError, match="tensorrt is not installed; it comes with J"):
        open_api("tensorrt")


def test_a_library_that_does_not_load_is_one_line(tmp_path, monkeypatch):
    code = "raise ImportError('libnvinfer.so.10:\\n no')"
    (tmp_path / "tensorrt.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert installed()[0] == "tensorrt"
    with pytest.raises(EngineError, match=r"does not load: libnvinfer\.so\.10: no$"):
        open_api("tensorrt")
