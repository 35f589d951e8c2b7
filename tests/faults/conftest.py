"""A folder to be wrong in: a good bundle, a picture and pairs that fit it."""

import shutil

import numpy as np
import pytest

from derain.core.pictures import write_picture


@pytest.fixture(scope="session")
def _template(tmp_path_factory, bundles, image):
    folder = tmp_path_factory.mktemp("fault")
    shutil.copytree(bundles("darken"), folder / "b")
    write_picture(folder / "in.png", image())
    (folder / "pairs").mkdir()
    for name in ("0", "1"):
        write_picture(folder / f"pairs/{name}.png", np.hstack([image(), image()]))
    return folder


@pytest.fixture
def place(_template, tmp_path):
    """A copy of the folder, for one fault."""
    return shutil.copytree(_template, tmp_path / "place")


@pytest.fixture(scope="session")
def same_place(_template):
    """The folder itself, for faults that are found before anything is done."""
    return _template
