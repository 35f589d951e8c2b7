import struct
import zlib

import cv2
import numpy as np
import pytest

from derain.core.errors import MediaError
from derain.core.metrics import psnr_db
from derain.core.picture_header import picture_size
from derain.core.pictures import SUFFIXES, read_picture, write_picture
from derain.core.sizes import Size

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


def _png_of_zeros(width, height):
    """A PNG of one grey level, made row by row."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + width)) for _ in range(height)]
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": b"".join([*rows, packer.flush()]),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts.items()
    )


def test_a_header_that_claims_too_much_is_refused_before_decoding(
    tmp_path, monkeypatch
):
    path = tmp_path / "in.png"
    path.write_bytes(_png_of_zeros(300, 200))
    assert read_picture(path).shape == (200, 300, 3)
    path.write_bytes(_png_of_zeros(30_000, 30)[:2000])
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack(">I", 30_000)
    path.write_bytes(content)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(
        MediaError, match=r"in\.png claims 30000x30000 pixels; at most 134 megapixels"
    ):
        read_picture(path)


@pytest.mark.parametrize("shape", [(7, 300, 3), (300, 7), (5, 6, 4)], ids=str)
@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_the_size_is_in_the_header(suffix, shape):
    done, content = cv2.imencode(suffix, np.zeros(shape, np.uint8))
    assert done
    assert picture_size(content.tobytes()) == Size(shape[1], shape[0])
    for length in range(40):
        picture_size(content.tobytes()[:length])  # raises nothing


def test_the_size_of_lossless_and_extended_webp():
    options = [cv2.IMWRITE_WEBP_QUALITY, 101]
    done, content = cv2.imencode(".webp", np.zeros((5, 9, 3), np.uint8), options)
    assert done
    assert content.tobytes()[12:16] == b"VP8L"
    assert picture_size(content.tobytes()) == Size(9, 5)
    extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x2b\1\0\x07\0\0"
    assert picture_size(extended) == Size(300, 8)


def test_a_picture_turned_by_its_tag_and_jpegs_with_comments(tmp_path):
    done, content = cv2.imencode(".jpg", np.zeros((40, 60, 3), np.uint8))
    assert done
    comment = b"\xff\xff\xfe\x00\x05abc"  # with a fill byte
    path = tmp_path / "in.jpg"
    path.write_bytes(content.tobytes()[:2] + comment + content.tobytes()[2:])
    assert picture_size(path.read_bytes()) == Size(60, 40)
    assert read_picture(path).shape == (40, 60, 3)


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
