"""Frames of other sizes: the bundle that takes them is opened and kept."""

import pytest

from derain.core.bundle import Bundle
from derain.core.pictures import write_picture
from derain.core.sizes import Size
from derain.runtime.derainer import Derainer
from derain.runtime.frame_sizes import BundleChoice


@pytest.fixture
def opened():
    return []


@pytest.fixture
def choice(bundles, opened):
    def open_bundle(bundle):
        opened.append(bundle)
        return Derainer(bundle)

    first = Derainer(Bundle.open(bundles("darken")))
    others = [Bundle.open(bundles(name)) for name in ("dynamic", "any-identity")]
    choice = BundleChoice(first, others, open_bundle)
    yield choice
    choice.close()
    first.close()


def test_the_first_one_that_takes_a_size_is_opened_once(choice, opened):
    small, large = Size(80, 60), Size(640, 480)
    first = choice.choose(Size(64, 48))
    assert opened == []
    assert choice.choose(small) is choice.choose(small)
    assert [str(bundle.manifest.sizes) for bundle in opened] == ["32x32,64x48,128x96"]
    assert choice.choose(large) is not choice.choose(small)
    assert len(opened) == 2
    assert choice.choose(Size(64, 48)) is first


def test_what_nothing_takes_goes_to_the_first(choice, opened):
    assert choice.choose(Size(8000, 8000)) is choice.choose(Size(64, 48))
    assert opened == []


def test_derain_run_takes_the_bundle_that_fits(
    invoke, bundles, tmp_path, picture_folder, image
):
    folder = picture_folder(count=2)
    write_picture(folder / "frame1.png", image(Size(80, 60)))
    out = tmp_path / "out"
    arguments = (bundles("darken"), "--source", folder, "--sink", out)
    result = invoke(*arguments, "--bundles", bundles("dynamic"))
    assert result.exit_code == 0, result.stderr
    assert len(list(out.iterdir())) == 2
