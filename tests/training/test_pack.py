import numpy as np
import pytest
from click.testing import CliRunner

from derain.core.errors import MediaError
from derain.core.metrics import score
from derain.training.cli import main
from derain.training.leakage import Scenes
from derain.training.pack import middle, packed_pairs, packed_photographs
from derain.training.run import split


@pytest.fixture
def pack(tmp_path, pairs_folder, two_folders):
    path = tmp_path / "pack.zip"
    arguments = ["--pairs", pairs_folder, "--clean", two_folders / "clean"]
    arguments += ["--quality", 100, "-o", path]
    result = CliRunner().invoke(main, ["pack", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return path


def test_pack_holds_pairs_and_photographs(pack, pairs):
    packed = list(packed_pairs(pack))
    assert [pair.name for pair in packed] == [pair.name for pair in pairs]
    for got, wanted in zip(packed, pairs, strict=True):  # of noise, as JPEG keeps it
        assert score(got.rainy, wanted.rainy).psnr_db > 40
        assert score(got.clean, wanted.clean).psnr_db > 40
    photographs = list(packed_photographs(pack))
    assert len(photographs) == 4
    assert score(photographs[0], pairs[0].clean).psnr_db > 40


def test_pack_trains_as_a_folder_does(pack, pairs_folder):
    training, validation, _ = split(pack, Scenes([]))
    assert len(training) == 4
    assert validation == []
    of_folder, _, _ = split(pairs_folder, Scenes([]))
    assert [p.name for p in training] == [p.name for p in of_folder]


def test_middle_is_in_the_middle():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10, 1).repeat(3, axis=2)
    assert middle(image, 4)[0, 0, 0] == 33
    assert middle(image, 20) is not None
    assert middle(image, 20).shape == (10, 10, 3)


def test_pack_that_would_be_too_large_is_not_left(tmp_path, pairs_folder):
    arguments = [
        "--pairs",
        pairs_folder,
        "--megabytes",
        0.001,
        "-o",
        tmp_path / "p.zip",
    ]
    result = CliRunner().invoke(main, ["pack", *map(str, arguments)])
    assert result.exit_code == 1
    assert "choose a smaller --side or --quality" in result.stderr
    assert not list(tmp_path.glob("p.zip*"))


@pytest.mark.parametrize("content", [b"", b"PK no zip", None])
def test_file_that_is_no_pack(tmp_path, content):
    path = tmp_path / "pack.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match="not a pack of pictures"):
        list(packed_pairs(path))
