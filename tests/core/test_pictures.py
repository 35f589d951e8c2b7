import cv2
import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.metrics import psnr_db
from derain.core.pictures import SUFFIXES, read_picture, write_picture

LOSSLESS = {".bmp", ".png", ".tif", ".tiff"}


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("upper", [False, True])
def test_pictures_come_back(tmp_path, image, suffix, upper, capfd):
    path = tmp_path / f"Regen ☂ {suffix.upper() if upper else suffix}"
    write_picture(path, image())
    got = read_picture(path)
    if suffix in LOSSLESS:
        np.testing.assert_array_equal(got, image())
    assert psnr_db(got, image()) > 38  # JPEG at quality 95: measured 42
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (np.full((4, 6), 7, np.uint8), 7),
        (np.full((4, 6, 4), 9, np.uint8), 9),
        (np.full((4, 6, 3), 5 * 257, np.uint16), 5),
    ],
    ids=["grey", "alpha", "16 bits"],
)
def test_every_kind_becomes_8_bit_bgr(tmp_path, stored, wanted):
    path = tmp_path / "in.png"
    assert cv2.imwrite(str(path), stored)
    got = read_picture(path)
    assert got.shape == (4, 6, 3)
    assert got.dtype == np.uint8
    assert set(np.unique(got)) == {wanted}


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(tmp_path, content):
    path = tmp_path / "in.png"
    path.write_bytes(content)
    with pytest.raises(
        MediaError, match=r"in\.png is not a picture that can be decoded"
    ):
        read_picture(path)


def test_a_missing_picture(tmp_path):
    with pytest.raises(MediaError, match=r"in\.png cannot be read: No such file"):
        read_picture(tmp_path / "in.png")


def test_a_suffix_that_cannot_be_written(tmp_path, image):
    with pytest.raises(
        MediaError, match=r"pictures of type '\.xyz'; choose from \.bmp"
    ):
        write_picture(tmp_path / "out.xyz", image())


def test_a_picture_the_format_cannot_hold(tmp_path):
    wide = np.zeros((1, 20_000, 3), np.uint8)
    with pytest.raises(MediaError, match=r"out\.webp cannot be encoded"):
        write_picture(tmp_path / "out.webp", wide)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_picture(tmp_path, image, monkeypatch):
    path = tmp_path / "out.png"
    write_picture(path, image())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MediaError, match=r"out\.png cannot be written: No space left"):
        write_picture(path, image(shift=1))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
