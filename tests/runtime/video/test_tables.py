from importlib import import_module

import pytest

from derain.core.errors import UnknownNameError
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import SINKS, open_sink
from derain.runtime.video.sources import SOURCES, open_source

ROWS = [("sources", row) for row in SOURCES] + [("sinks", row) for row in SINKS]


@pytest.mark.parametrize(
    ("folder", "row"), ROWS, ids=[f"{folder} {row.form}" for folder, row in ROWS]
)
def test_every_row_names_a_factory(folder, row):
    if row.extra:
        pytest.importorskip("av")
    module = import_module(f"derain.runtime.video.{folder}.{row.module}")
    assert callable(getattr(module, row.factory))


def test_unknown_names_list_the_known_ones(tmp_path, picture_folder):
    source = open_source(str(picture_folder()))
    with pytest.raises(UnknownNameError, match=r"choose from .*a video \(\.m4v \.mkv"):
        open_sink(str(tmp_path / "out.avi"), source.info, SinkOptions())
    with pytest.raises(UnknownNameError, match=r"choose from .*test://rain"):
        open_source("carrier:0")


def test_a_scheme_is_not_mistaken_for_a_file(tmp_path, monkeypatch, image):
    from derain.core.pictures import write_picture

    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "test:1.png", image())
    assert open_source("test:1.png").info.frames == 1
