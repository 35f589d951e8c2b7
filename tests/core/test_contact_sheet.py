import numpy as np

from derain.core.contact_sheet import contact_sheet


def test_sheet_holds_every_picture_and_leaves_the_rest_white():
    red = np.zeros((20, 40, 3), np.uint8) + np.array([0, 0, 200], np.uint8)
    sheet = contact_sheet([[("a", red), ("b", red)], [("c", red[:10])]], cell_width=80)
    assert sheet.shape == (40 + 22 + 20 + 22, 160, 3)
    np.testing.assert_array_equal(sheet[5, 100], [0, 0, 200])
    assert (sheet[-40:, 80:] == 255).all()
