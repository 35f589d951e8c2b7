import errno
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest

from derain.calibration.contact_sheet import frames_sheet
from derain.calibration.features import describe
from derain.calibration.frame_store import FrameStore, fit
from derain.core.errors import CalibrationError, DerainError, MediaError
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.runtime.video.frames import Frame, SourceInfo

SIZE = Size(48, 32)


@pytest.fixture
def collect(tmp_path):
    """Collects frames that were written to a folder."""

    def run(frames, size=SIZE, **options):
        folder = tmp_path / "source"
        folder.mkdir()
        for k, frame in enumerate(frames):
            write_picture(folder / f"{k}.png", frame)
        store = FrameStore()
        options = {"dry": False, "count": 4, "held_out": 2} | options
        try:
            store.collect(str(folder), size, **options)
        except DerainError:
            store.close()
            raise
        return store

    return run


def test_frames_for_ranges_and_held_out_frames_are_different(collect, rainy):
    with collect(rainy) as store:
        assert (len(store.chosen), len(store.held_out)) == (4, 2)
        assert store.seen == len(rainy)
        paths = [stored.path for stored in (*store.chosen, *store.held_out)]
        assert len(set(paths)) == 6


@pytest.mark.parametrize(
    ("frames", "count", "wanted"),
    [
        (10, 4, (4, 6)),
        (10, 64, (9, 1)),
        (5, 4, (4, 1)),
        (4, 4, (3, 1)),
        (2, 64, (1, 1)),
    ],
)
def test_ranges_get_theirs_first_and_a_ninth_is_held_out_at_least(
    collect, rainy, frames, count, wanted
):
    with collect(rainy[:frames], count=count, held_out=8) as store:
        assert (len(store.chosen), len(store.held_out)) == wanted


def test_the_held_out_frames_are_taken_evenly(collect, rainy):
    with collect(rainy[:10], count=5, held_out=5) as store:
        held_out = [int(s.name.removesuffix(".png")) for s in store.held_out]
    assert held_out == [1, 3, 5, 7, 9]


def test_a_frame_comes_out_as_it_went_in(collect, rainy):
    with collect(rainy, count=10) as store:
        for stored in store.chosen:
            index = int(stored.name.removesuffix(".png"))
            assert np.array_equal(stored.rainy, rainy[index])


def test_repeated_frames_count_once(collect, rainy):
    with collect([*rainy[:3]] * 4) as store:
        assert store.repeated == 9
        assert len(store.chosen) + len(store.held_out) == 3


def test_rain_before_a_fixed_camera_is_no_repetition(street):
    from derain.core.synthetic.rain import PRESETS, RainField, add_rain

    clean = np.ascontiguousarray(street[0])
    field = RainField(SIZE, PRESETS["heavy"].scaled(0.2), 0)
    two = [describe(add_rain(clean, field.opacity(k), 0.1)) for k in (0, 5)]
    assert not two[0].same_as(two[1])
    assert two[0].same_as(two[0])


def test_a_long_source_is_thinned_out_evenly(collect, tmp_path):
    random = np.random.default_rng(0)
    frames = [random.integers(0, 255, (32, 48, 3), np.uint8) for _ in range(60)]
    with collect(frames, count=5, held_out=1) as store:
        kept = sorted(int(s.name.removesuffix(".png")) for s in store.chosen)
        assert len(kept) == 5
        assert kept[-1] - kept[0] > 30
        folder = store.chosen[0].path.parent
        assert len(list(folder.iterdir())) <= 12


@pytest.mark.parametrize("level", [0, 90])
def test_frames_that_show_nothing_are_an_error(collect, level):
    black = [np.full((32, 48, 3), level, np.uint8)] * 5
    with pytest.raises(CalibrationError, match="5 of them black or blank"):
        collect(black)


def test_one_frame_is_too_few(collect, rainy):
    with pytest.raises(CalibrationError, match="has 1 different frames"):
        collect(rainy[:1])


def test_an_empty_folder_is_an_error(collect):
    with pytest.raises(MediaError, match="holds no picture"):
        collect([])


def test_a_corrupt_picture_is_an_error(collect, rainy, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "0.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="not a picture"), FrameStore() as store:
        store.collect(str(tmp_path / "source"), SIZE, dry=False, count=4)


class Camera:
    """A live source at 25 frames/s that never ends."""

    info = SourceInfo(
        description="camera",
        time_base=Fraction(1, 25),
        fps=Fraction(25),
        live=True,
    )

    def __init__(self, pictures):
        self.pictures = pictures
        self.given = 0
        self.closed = False

    def __iter__(self):
        while True:
            index, self.given = self.given, self.given + 1
            image = self.pictures[index // 25 % len(self.pictures)]
            at = Fraction(index, 25)
            yield Frame(image, index, at, captured=1e6 + float(at))

    def close(self):
        self.closed = True


@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
def test_a_live_source_gives_a_frame_a_second_and_is_left(rainy, monkeypatch, still):
    camera = Camera(rainy[:2] if still else rainy)
    monkeypatch.setattr(
        "derain.calibration.frame_store.open_source", lambda source: camera
    )
    # Every frame, read by whoever asks for it: none is left out for want of time.
    monkeypatch.setattr("derain.calibration.frame_store.Capture", closing)
    with FrameStore() as store:
        store.collect("camera:0", SIZE, dry=False, count=4, held_out=2)
        assert store.seen == 12
        assert len(store.chosen) + len(store.held_out) == (2 if still else 6)
    assert camera.given == 11 * 25 + 1
    assert camera.closed


def test_a_full_disk_is_one_line(collect, rainy, monkeypatch):
    def full(path, array):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CalibrationError, match=r"No space left.*TMPDIR"):
        collect(rainy)


def test_dry_footage_gets_rain_and_keeps_its_truth(collect, street):
    with collect(street, dry=True) as store:
        for stored in store.held_out:
            frame = stored.held_out()
            assert frame.clean is not None
            index = int(stored.name.removesuffix(".png"))
            assert np.array_equal(frame.clean, street[index])
            assert not np.array_equal(frame.rainy, frame.clean)


def test_the_digest_follows_the_pixels(collect, rainy):
    with collect(rainy) as store:
        before = store.digest
        path = store.chosen[0].path
        pictures = np.load(path)
        pictures[0, 0, 0, 0] ^= 1
        np.save(path, pictures)
        assert store.digest != before


def test_nothing_is_left_behind(collect, rainy):
    with collect(rainy) as store:
        folder = store.chosen[0].path.parent
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.parametrize("shape", [(20, 30), (64, 96), (20, 96), (5, 7)])
def test_fit_crops_and_mirrors_but_never_scales(shape):
    random = np.random.default_rng(1)
    image = random.integers(0, 255, (*shape, 3), np.uint8)
    fitted = fit(image, SIZE)
    assert fitted.shape == (32, 48, 3)
    top = max(0, shape[0] - 32) // 2
    left = max(0, shape[1] - 48) // 2
    cut = image[top : top + 32, left : left + 48]
    assert np.array_equal(fitted[: cut.shape[0], : cut.shape[1]], cut)


def test_contact_sheet_shows_every_frame(collect, rainy):
    with collect(rainy, count=9) as store:
        sheet = frames_sheet(store.chosen)
    assert sheet.ndim == 3
    assert sheet.shape[1] == 8 * 240
