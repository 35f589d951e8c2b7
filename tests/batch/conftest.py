import pytest

from derain.batch.options import BatchOptions


@pytest.fixture(autouse=True)
def needed():
    pytest.importorskip("fsspec", reason="needs derain[batch]")
    pytest.importorskip("av", reason="needs derain[video]")


@pytest.fixture
def options():
    """Options of a batch on the reference backend: ``options(crf=20)``."""
    return lambda **changes: BatchOptions(**{"backend": "onnxruntime", **changes})


@pytest.fixture
def clip_folder(tmp_path, make_video):
    """A folder with clips in two folders, and what is none."""
    folder = tmp_path / "clips"
    (folder / "deep" / "er").mkdir(parents=True)
    make_video(folder / "a.mp4", 4)
    make_video(folder / "deep" / "b.mp4", 3, audio="aac", audio_seconds=0.1)
    make_video(folder / "deep" / "er" / "c.mkv", 3)
    (folder / "notes.txt").write_text("none")
    return folder
