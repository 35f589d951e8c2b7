from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from derain.core.pictures import picture_paths, read_picture, write_picture
from derain.models.loading import open_network
from derain.models.registry import create_model
from derain.models.video_stream import VideoStream
from derain.training.cli import main
from derain.training.look import before_and_after, derained_rows, spread


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(3, 4, [0, 1, 2]), (4, 2, [0, 2]), (5, 3, [0, 1, 3]), (1, 1, [0])],
)
def test_pictures_are_spread_over_a_clip(count, most, chosen):
    assert spread([Path(str(i)) for i in range(count)], most) == [
        Path(str(i)) for i in chosen
    ]


def test_before_stands_left_of_after(tmp_path):
    path = tmp_path / "in.png"
    write_picture(path, np.full((8, 8, 3), 100, np.uint8))
    (row,) = before_and_after(lambda path, picture: picture // 2, [path])
    assert [caption for caption, _ in row] == [f"{tmp_path.name}/in.png", "derained"]
    assert [int(picture.max()) for _, picture in row] == [100, 50]


def test_sheet_of_two_folders(tmp_path, two_folders):
    sheet = tmp_path / "sheet.png"
    arguments = [two_folders / "rain", two_folders / "clean", "--model", "stagewise"]
    arguments += ["--most", 1, "--width", 50, "-o", sheet]
    result = CliRunner().invoke(main, ["look", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert read_picture(sheet).shape[1] == 4 * 50


def test_a_network_with_a_memory_sees_the_pictures_before(tmp_path, two_folders):
    weights = tmp_path / "weights.safetensors"
    save_file(create_model("rivulet-s").state_dict(), weights)
    (row,) = derained_rows([two_folders / "rain"], "rivulet-s", weights, 1)
    loaded = open_network("rivulet-s", weights=weights)
    stream = VideoStream(loaded.video)
    paths = picture_paths(two_folders / "rain")
    assert row[0][0] == "rain/" + paths[0].name
    np.testing.assert_array_equal(row[1][1], stream.derain(read_picture(paths[0])))
    last = derained_rows([two_folders / "rain"], "rivulet-s", weights, 4)[1][3][1]
    for path in paths[1:]:
        wanted = stream.derain(read_picture(path))
    np.testing.assert_array_equal(last, wanted)


def test_sheet_of_rendered_rain(tmp_path, two_folders):
    sheet = tmp_path / "sheet.png"
    arguments = [two_folders / "clean", "--most", 2, "--width", 50, "-o", sheet]
    result = CliRunner().invoke(main, ["look", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert read_picture(sheet).shape[1] == 7 * 50


def test_weights_want_a_network(tmp_path):
    result = CliRunner().invoke(main, ["look", str(tmp_path), "--weights", "a.pth"])
    assert result.exit_code == 2


def test_folder_without_pictures_is_one_line(tmp_path):
    arguments = [str(tmp_path), "--model", "qsnet", "-o", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(main, ["look", *arguments])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
