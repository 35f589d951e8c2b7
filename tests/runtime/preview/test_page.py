"""The page in a real browser: see `browser`."""

import cv2
import numpy as np
import pytest

from derain.runtime.telemetry.statistics import RESET_CAUSES, About, Statistics


@pytest.fixture
def statistics():
    return Statistics()


@pytest.fixture
def page(browser, previews, feed, statistics, until, make_frame):
    """The page with a live picture: before is bright, after dark, both change."""
    preview = previews(statistics=statistics)

    def make(index):
        statistics.count("captured")
        statistics.count("derained")
        statistics.derain.add(5.0 + index % 3)
        level = 5 * index % 50
        return make_frame(
            index, width=320, height=180, before=180 + level, after=30 + level
        )

    feed(preview, make)
    browser.get(f"http://127.0.0.1:{preview.port}/")
    until(lambda: browser.find_element("id", "state").text == "live")
    yield browser
    browser.get("about:blank")


def level(browser, x):
    """Grey level of the picture at `x`, from 0 (left) to 1."""
    return browser.execute_script(
        "const c = document.getElementById('picture');"
        "return c.getContext('2d').getImageData("
        "arguments[0] * c.width, c.height / 3, 1, 1).data[1]",
        x,
    )


def is_before(browser, x):
    return level(browser, x) > 140


def fact(browser, name):
    return browser.find_element("css selector", f"dd[data-name='{name}']").text


def figure(browser, name):
    """The number on a card; None where there is a dash."""
    number = browser.find_element("id", name).text.split()[0]
    return float(number) if number[0].isdigit() else None


def test_the_divider_is_dragged(page):
    from selenium.webdriver import ActionChains

    divider = page.find_element("id", "divider")
    assert (is_before(page, 0.3), is_before(page, 0.7)) == (True, False)
    width = page.find_element("id", "stage").size["width"]
    drag = ActionChains(page, duration=50).drag_and_drop_by_offset
    drag(divider, -0.4 * width, 30).perform()
    assert (is_before(page, 0.05), is_before(page, 0.3)) == (True, False)
    drag(divider, 0.8 * width, 0).perform()
    assert (is_before(page, 0.7), is_before(page, 0.95)) == (True, False)
    assert 88 <= int(divider.get_attribute("aria-valuenow")) <= 92


def test_the_divider_is_moved_by_keys(page):
    from selenium.webdriver.common.keys import Keys

    divider = page.find_element("id", "divider")
    divider.send_keys(Keys.HOME)
    assert not is_before(page, 0.02)
    divider.send_keys(Keys.PAGE_UP, Keys.PAGE_UP, Keys.ARROW_RIGHT)
    assert divider.get_attribute("aria-valuenow") == "21"
    assert (is_before(page, 0.18), is_before(page, 0.25)) == (True, False)


def test_the_picture_changes(page, until):
    first = level(page, 0.25)
    until(lambda: abs(level(page, 0.25) - first) >= 4)


def test_the_view_is_switched(page, until):
    def choose(view):
        page.find_element("css selector", f"label:has([value='{view}'])").click()

    choose("derained")
    until(lambda: not is_before(page, 0.1))
    assert not page.find_element("id", "divider").is_displayed()
    choose("rain")
    until(lambda: level(page, 0.5) == 255)  # 150 levels, four times
    choose("side-by-side")
    until(lambda: is_before(page, 0.3) and not is_before(page, 0.7))
    assert page.find_element("id", "divider").is_displayed()


def test_the_figures_are_those_of_the_run_and_follow_it(page, statistics, until):
    until(lambda: page.find_elements("css selector", "#facts dd"))
    derained = int(fact(page, "Derained"))
    until(lambda: int(fact(page, "Derained")) > derained)
    assert fact(page, "Dropped") == "0"
    statistics.gate = "dry"
    statistics.count("reconnects", 2)
    statistics.count("dropped", 7)  # the last: the page may ask in between
    until(lambda: fact(page, "Dropped") == "7")
    assert (fact(page, "Reconnects"), fact(page, "Rain gate")) == ("2", "dry")
    assert 5.0 <= until(lambda: figure(page, "derain")) <= 7.0
    assert until(lambda: figure(page, "fps")) > 0
    blue_line = (
        "const c = document.getElementById('fps-graph');"
        "const d = c.getContext('2d').getImageData(c.width / 2, 0, c.width / 2,"
        " c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) n += d[i + 2] > 200; return n"
    )
    until(lambda: page.execute_script(blue_line) > 0)


def test_resets_of_a_memory_are_shown_by_cause(page, statistics, until):
    until(lambda: page.find_elements("css selector", "#facts dd"))
    assert not page.find_elements("css selector", "#facts dd[data-name=Resets]")
    statistics.count_resets()
    until(lambda: page.find_elements("css selector", "#facts dd[data-name=Resets]"))
    for cause in ("cut", "cut", "nan"):
        statistics.count_reset(cause)
    until(lambda: fact(page, "Resets") == "3 (2 cut, 1 nan)")


def test_a_snapshot_is_the_picture_as_shown(page, tmp_path, until):
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )
    page.find_element("id", "snapshot").click()
    (file,) = until(lambda: list(tmp_path.glob("derain-side-by-side-*.png")))
    picture = cv2.imread(str(file))  # Chromium gives it this name when it is whole
    assert picture.shape == (180, 320, 3)
    assert np.median(picture[:, :140]) > 140 > np.median(picture[:, 180:])
    assert (picture[:, 160] == 255).all()  # the line of the divider


def test_a_lost_signal_is_said(page, statistics, until):
    statistics.signal = False
    until(lambda: page.find_element("id", "state").text == "no signal")


def test_it_fits_a_phone_and_breaks_no_policy(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    wide = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == 360
    messages = page.get_log("browser")
    assert [each for each in messages if each["level"] == "SEVERE"] == []


def test_the_token_leaves_the_address_bar(browser, previews, feed, make_frame, until):
    preview = previews("a-token-of-mine")
    feed(preview, make_frame)
    address = f"http://127.0.0.1:{preview.port}/"
    browser.get(f"{address}?token=a-token-of-mine")
    until(lambda: browser.find_element("id", "state").text == "live")
    assert browser.current_url == address
    browser.get("about:blank")


def test_the_end_of_the_run_is_said(browser, previews, feed, make_frame, until):
    preview = previews()
    browser.get(f"http://127.0.0.1:{preview.port}/")
    state = browser.find_element("id", "state")
    until(lambda: state.text == "waiting for the first picture")
    stop = feed(preview, make_frame)
    until(lambda: state.text == "live")
    stop()  # a closed preview takes no more frames
    preview.close()
    until(
        lambda: (
            state.text
            in ("the run has ended, or restarts", "no connection to the device")
        )
    )
    assert browser.find_element("id", "message").is_displayed()
    browser.get_log("browser")  # of connections that are refused
    browser.get("about:blank")


def test_what_runs_is_shown_and_a_hint_where_it_is_too_slow(page, statistics, until):
    assert not page.find_element("id", "hint").is_displayed()
    statistics.about = About(
        source="rtsp://h/1", bundle="qsnet-fp16", backend="TensorRT 10.3", version="9.9"
    )
    statistics.load = 1.83
    about = "rtsp://h/1 · qsnet-fp16 · TensorRT 10.3 · derain 9.9"
    until(lambda: page.find_element("id", "about").text == about)
    until(lambda: page.find_element("id", "hint").is_displayed())
    hint = page.find_element("id", "hint")
    assert "would need 1.8 times the time there is. A smaller" in hint.text
    statistics.resets = dict.fromkeys(RESET_CAUSES, 0) | {"dropped": 2}
    until(lambda: "it forgets the frames before" in hint.text)


def test_a_figure_holds_between_the_frames_of_a_slow_network(
    browser, previews, make_frame, statistics, until
):
    preview = previews(statistics=statistics)
    browser.get(f"http://127.0.0.1:{preview.port}/")
    until(lambda: figure(browser, "fps") is not None)
    statistics.derain.add(2500)
    until(lambda: figure(browser, "derain") == 2500)
    seconds = statistics.as_dict()["seconds"]  # two more answers without a frame
    until(lambda: statistics.as_dict()["seconds"] > seconds + 2.5)
    assert figure(browser, "derain") == 2500
    statistics.signal = False
    until(lambda: figure(browser, "derain") is None)
    browser.get("about:blank")


def test_no_label_of_an_axis_is_cut_off(page):
    """Of a graph up to 100000: nothing is drawn in the first column of pixels."""
    drawn = page.execute_script(
        "graph(document.getElementById('age-graph'), [90000, 90000]);"
        "const c = document.getElementById('age-graph');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const ink = (x) => { for (let y = 0; y < c.height; y++)"
        " if (d[4 * (y * c.width + x) + 3]) return true; return false };"
        "let first = 0; while (!ink(first)) first++; return first"
    )
    assert drawn >= 1


def test_it_is_light_where_that_is_preferred(page):
    def ground(scheme):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        return page.execute_script("return getComputedStyle(document.body).color")

    dark, light = ground("dark"), ground("light")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (dark, light) == ("rgb(232, 237, 243)", "rgb(27, 36, 48)")


def test_it_fills_the_screen(page, until):
    page.find_element("id", "fullscreen").click()
    full = "return document.fullscreenElement && document.fullscreenElement.id"
    until(lambda: page.execute_script(full) == "screen")
    width = page.execute_script(
        "return document.getElementById('stage').clientWidth / innerWidth"
    )
    assert width > 0.95
    page.execute_script("document.exitFullscreen()")
    until(lambda: page.execute_script(full) is None)
