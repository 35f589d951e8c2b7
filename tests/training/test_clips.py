import numpy as np
import pytest

from derain.core.errors import MediaError, ShapeError
from derain.core.pictures import write_picture
from derain.core.synthetic.mixture import RainMixture
from derain.training.clips import ClipSource, TrainingClip, open_clips

RAIN = {"angle_degrees": {"uniform": [-9, 9]}, "density": 200, "brightness": 0.9}
STILL = RainMixture.parse({"rain": [RAIN]}, "here")


def _numbered(count=6, height=60, width=80):
    """Frames whose pixels tell where and when they are from."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return [np.stack([y, x, np.full_like(x, 20 * k)], -1) for k in range(count)]


def _source(clips=(), photographs=(), mixture=STILL, **changes):
    settings = {"frames": 3, "crop": 24, "batch": 8, "dry": 0.0, "seed": 3}
    return ClipSource(clips, photographs, mixture=mixture, **(settings | changes))


CLIP = TrainingClip("numbered", _numbered())


def test_a_sample_is_a_crop_of_consecutive_frames():
    rainy, clean = _source([CLIP]).batch(0)
    assert rainy.shape == clean.shape == (8, 3, 24, 24, 3)
    times = clean[..., 2].astype(int).mean((2, 3))
    np.testing.assert_array_equal(np.diff(times, axis=1), 20)
    for sample in clean.astype(int):
        # The same place, mirrored alike, in all frames.
        np.testing.assert_array_equal(sample[0, ..., :2], sample[2, ..., :2])
    assert (rainy >= clean).mean() > 0.99
    assert (rainy > clean).any((2, 3, 4)).all()


def test_frames_may_be_lost():
    skipping = RainMixture.parse({"rain": [RAIN], "motion": {"longest_step": 2}}, "")
    _, clean = _source([CLIP], mixture=skipping, batch=40).batch(0)
    steps = np.diff(clean[..., 2].astype(int).mean((2, 3)), axis=1)
    assert set(np.round(steps.ravel())) == {20, 40}


def test_a_clip_as_short_as_a_sample_loses_no_frames():
    skipping = RainMixture.parse({"rain": [RAIN], "motion": {"longest_step": 8}}, "")
    short = TrainingClip("short", _numbered(3))
    _, clean = _source([short], mixture=skipping).batch(0)
    times = clean[..., 2].astype(int).mean((2, 3))
    assert {tuple(x) for x in times} == {(0, 20, 40)}


def test_half_are_photographs_under_a_moving_camera():
    moving = RainMixture.parse({"rain": [RAIN], "motion": {"pan_px": 5}}, "here")
    photograph = _numbered(1)[0] + np.uint8([0, 0, 200])
    source = _source([CLIP], [photograph], mixture=moving, batch=200)
    _, clean = source.batch(0)
    of_photographs = clean[..., 2].min((1, 2, 3)) == 200
    assert of_photographs.mean() == pytest.approx(0.5, abs=0.11)  # 3 deviations
    panned = clean[of_photographs]
    assert (panned[:, 0] != panned[:, 1]).any((1, 2, 3)).all()


def test_dry_samples_are_left_as_they_are():
    rainy, clean = _source([CLIP], dry=0.5, batch=100).batch(0)
    dry = (rainy == clean).all((1, 2, 3, 4))
    assert dry.mean() == pytest.approx(0.5, abs=0.15)


def test_a_batch_depends_on_the_seed_and_its_number_alone():
    photograph = _numbered(1)[0]
    first, again = (_source([CLIP], [photograph]) for _ in range(2))
    first.batch(0)
    for a, b in zip(first.batch(7), again.batch(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.batch(7)[0] != first.batch(8)[0]).any()
    other = _source([CLIP], [photograph], seed=4)
    assert (first.batch(7)[0] != other.batch(7)[0]).any()


def test_nothing_to_train_on():
    with pytest.raises(MediaError, match="no clips to train on; give --clips or --cle"):
        _source()


def test_clip_smaller_than_a_crop():
    with pytest.raises(MediaError, match="80x60 is smaller than a crop of 64"):
        _source([CLIP], crop=64)


@pytest.fixture
def folder(tmp_path):
    """Two clips of four frames and of two, and a file beside them."""
    for name, count in (("b", 2), ("a", 4)):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for index, frame in enumerate(_numbered(count)):
            write_picture(tmp_path / "clips" / name / f"{index}.png", frame)
    (tmp_path / "clips" / "notes.txt").write_text("mine")
    (tmp_path / "clips" / ".cache").mkdir()
    return tmp_path / "clips"


def test_clips_are_folders_of_frames_in_order(folder):
    first, second = open_clips(folder)
    assert (first.name, second.name) == ("a", "b")
    assert [int(frame[0, 0, 2]) for frame in first.frames] == [0, 20, 40, 60]


def test_clips_that_cannot_be_used_are_named(folder, tmp_path):
    with pytest.raises(MediaError, match=r"clips.b holds 2 frames, wanted 3 or more"):
        list(open_clips(folder, least=3))
    with pytest.raises(MediaError, match="nowhere cannot be read"):
        list(open_clips(tmp_path / "nowhere"))
    with pytest.raises(MediaError, match="a holds no folders; wanted one for each cl"):
        list(open_clips(folder / "a"))
    (folder / "c").mkdir()
    with pytest.raises(MediaError, match="c holds no pictures"):
        list(open_clips(folder))
    write_picture(folder / "b" / "1.png", np.zeros((9, 8, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"1.png is 8x9, the clip's first frame 80x60"):
        list(open_clips(folder))
