"""The wall in a real browser: see `browser`."""

import contextlib

import pytest

from derain.runtime.telemetry.statistics import Statistics


@pytest.fixture
def wall(browser, feed, make_frame, until):
    """The wall with two cameras, of 80 and 140 grey levels."""
    from derain.runtime.preview.server import WallServer

    with contextlib.closing(WallServer("127.0.0.1", 0)) as server:
        for number, name in enumerate(("yard", "gate")):
            statistics = Statistics()
            if name == "gate":
                statistics.state = "failed"
            make = lambda index, n=number: make_frame(  # noqa: E731
                index, width=320, height=180, after=80 + 60 * n
            )
            feed(server.sink(name, statistics), make)
        browser.get(f"http://127.0.0.1:{server.port}/")
        until(lambda: len(browser.find_elements("css selector", ".tile")) == 2)
        yield server
        browser.get("about:blank")
        browser.get_log("browser")


def level(browser, name):
    return browser.execute_script(
        "const c = document.querySelector(`[data-camera=${arguments[0]}] canvas`);"
        "return c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1)"
        ".data[1]",
        name,
    )


def test_every_camera_has_a_tile_with_its_picture_and_state(wall, browser, until):
    until(lambda: abs(level(browser, "yard") - 80) < 4)
    until(lambda: abs(level(browser, "gate") - 140) < 4)
    until(lambda: browser.find_element("id", "state").text == "1 of 2 cameras live")
    classes = {
        name: browser.find_element(
            "css selector", f"[data-camera={name}]"
        ).get_attribute("class")
        for name in ("yard", "gate")
    }
    assert classes == {"yard": "tile running", "gate": "tile failed"}


def test_a_click_leads_to_one_and_back(wall, browser, until):
    until(lambda: abs(level(browser, "yard") - 80) < 4)
    browser.find_element("css selector", "[data-camera=yard]").click()
    until(lambda: browser.current_url.endswith("/camera/yard/"))
    until(lambda: browser.find_element("id", "state").text == "live")
    assert browser.find_element("css selector", "h1").text == "yard"
    browser.find_element("id", "wall").click()
    until(lambda: len(browser.find_elements("css selector", ".tile")) == 2)


def test_it_fits_a_phone_and_breaks_no_policy(wall, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide == 360
    messages = browser.get_log("browser")
    assert [each for each in messages if each["level"] == "SEVERE"] == []
