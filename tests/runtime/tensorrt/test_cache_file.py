"""What is kept for the next build or start is whole, and of the right kind."""

import pytest

from derain.core.errors import EngineError
from derain.runtime.tensorrt.cache_file import CacheFile


def test_a_timing_cache_is_kept(tmp_path):
    file = CacheFile("timing", tmp_path / "new" / "x.cache")
    assert file.load() == b""
    file.save(b"measured")
    file.save(b"measured again")
    assert file.load() == b"measured again"
    assert [path.name for path in file.path.parent.iterdir()] == ["x.cache"]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: c + b"x", lambda c: b"other", lambda c: b""],
    ids=["cut", "longer", "another program's", "empty"],
)
def test_a_damaged_timing_cache_is_not_given_to_native_code(tmp_path, damage):
    file = CacheFile("timing", tmp_path / "x.cache")
    file.save(b"measured")
    file.path.write_bytes(damage(file.path.read_bytes()))
    with pytest.raises(EngineError, match="damaged, or of another program"):
        file.load()


def test_one_kind_of_cache_is_not_taken_for_another(tmp_path):
    CacheFile("timing", tmp_path / "x.cache").save(b"measured")
    with pytest.raises(EngineError, match=r"kernels cache .* is damaged, or of ano"):
        CacheFile("kernels", tmp_path / "x.cache").load()


def test_a_timing_cache_for_each_device_and_version(monkeypatch, tmp_path, device):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = CacheFile.default("timing", "tensorrt", "10.3.0", device)
    name = "tensorrt-10.3.0-sm87-orin-8.cache"
    assert file.path == tmp_path / "derain" / "timing" / name
