import sys

import pytest

from derain.core.errors import DerainError, MissingDependencyError
from derain.core.lazy import load


def test_load_returns_the_attribute():
    from derain.core.sizes import Size

    assert load("derain.core.sizes", "Size", "video") is Size


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "derain.runtime.video.sinks.muxing", raising=False)
    with pytest.raises(
        MissingDependencyError,
        match=r"^av is not installed; run: pip install 'derain\[video\]'$",
    ) as caught:
        load("derain.runtime.video.sinks.muxing", "VideoFile", "video")
    assert isinstance(caught.value, DerainError)
    assert isinstance(caught.value, ImportError)


def test_a_missing_module_of_ours_is_a_bug():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load("derain.runtime.no_such_module", "x", "video")
