"""HEVC files: ``out.mp4?codec=hevc``."""

from contextlib import closing

import pytest

pytest.importorskip("av")

from derain.core.errors import MediaError
from derain.runtime.video.sink_options import SinkOptions
from derain.runtime.video.sinks import open_sink
from derain.runtime.video.sources import open_source


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_an_hevc_file_plays(tmp_path, make_video, play, image, closeness, suffix):
    made = make_video(tmp_path / "in.mp4", frames=30, audio="aac")
    path = tmp_path / f"out{suffix}"
    with closing(open_source(str(made))) as source:
        sink = open_sink(f"{path}?codec=hevc", source.info, SinkOptions())
        with closing(sink):
            for frame in source:
                sink.write(frame)
            sink.finish()
        assert sink.name == str(path)
    played = play(path)
    assert played.video["codec"] == "hevc"
    assert len(played.images) == 30
    assert played.times == sorted(played.times)
    # Two lossy encodings of a smooth picture.
    assert max(closeness(p, image(shift=i)) for i, p in enumerate(played.images)) <= 24
    assert played.audio_codecs == ["aac"]
    if suffix != ".mkv":
        assert b"hvc1" in path.read_bytes()


def test_unknown_codec(tmp_path):
    info = open_source("test://rain?size=8x8").info
    with pytest.raises(MediaError, match=r"codec 'vp9' is not known; choose from h264"):
        open_sink(f"{tmp_path}/out.mp4?codec=vp9", info, SinkOptions())
