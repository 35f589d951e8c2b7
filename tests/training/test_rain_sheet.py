from click.testing import CliRunner

from derain.core.pictures import read_picture
from derain.training.rain_sheet import main


def test_sheet_of_photographs(tmp_path, two_folders):
    sheet = tmp_path / "sheet.png"
    arguments = [two_folders / "clean", "--count", 2, "-o", sheet]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert read_picture(sheet).shape[1] == 7 * 400


def test_folder_without_photographs_is_one_line(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
