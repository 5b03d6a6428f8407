"""Opens the report in headless Chromium: pictures load, nothing is fetched, the divider moves."""

import json
import re

import pytest
from report_fixture import build_figure_2_6, build_study, write_page


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    study = build_study(tmp_path_factory.mktemp("browser") / "demo", size_px=384)
    write_page(study, crop_px=96)
    browser.get((study / "report.html").as_uri())
    return browser


def pictures_load(driver):
    script = """
        const done = arguments[0];
        Promise.all([...document.images].map((image) => image.decode().then(() => image.naturalWidth, () => 0)))
          .then(done);
    """
    widths = driver.execute_async_script(script)
    return len(widths) > 5 and min(widths) > 0


def clip(driver):
    return driver.execute_script(
        "return getComputedStyle(document.getElementById('left-picture')).clipPath"
    )


def source(driver, side):
    return driver.execute_script(f"return document.getElementById('{side}-picture').src")


def choose(driver, name, value):
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", name)).select_by_value(value)


def test_every_picture_loads(opened):
    assert pictures_load(opened)


def test_divider_follows_the_mouse(opened):
    from selenium.webdriver.common.action_chains import ActionChains

    stage = opened.find_element("id", "stage")
    opened.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", stage
    )
    before, width = clip(opened), stage.size["width"]
    actions = ActionChains(opened).move_to_element(stage).click_and_hold()
    actions.move_by_offset(int(width * 0.3), 10).release().perform()
    assert clip(opened) != before
    assert float(opened.find_element("id", "slider").get_property("value")) == pytest.approx(
        80, abs=2
    )


def test_divider_follows_the_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    slider = opened.find_element("id", "slider")
    slider.send_keys(Keys.HOME)
    assert "100%" in clip(opened)
    before = clip(opened)
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert clip(opened) != before
    slider.send_keys(Keys.END)
    assert clip(opened) in ("inset(0px)", "inset(0px 0% 0px 0px)")


def test_choices_change_the_picture(opened):
    seen = {source(opened, "right")}
    for method in ("oracle", "constant", "truth", "none"):
        choose(opened, "right", method)
        seen.add(source(opened, "right"))
    assert len(seen) == 5
    assert source(opened, "left") == source(opened, "right")
    choose(opened, "right", "estimated")
    for radio in opened.find_elements("css selector", "#places input"):
        opened.execute_script("arguments[0].click()", radio)
        seen.add(source(opened, "left"))
        assert pictures_load(opened)
    assert len(seen) >= 8
    before = source(opened, "left")
    choose(opened, "mosaic", "1")
    assert source(opened, "left") != before
    assert pictures_load(opened)


A4_PX = 718  # between margins of 10 mm, at 96 px an inch


def lightness(driver, what: str) -> float:
    """Of a colour of the page's body: 0 black, 1 white."""
    colour = driver.execute_script(f"return getComputedStyle(document.body).{what}")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_page_fits_a_phone_a_tablet_a_desk_and_paper(opened, theme):
    """Nothing sticks out, tables scroll inside the page where it is narrow, and text stands out from its ground."""
    media = {"media": "print" if theme == "print" else "screen"}
    features = [{"name": "prefers-color-scheme", "value": "light" if theme == "light" else "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media | {"features": features})
    try:
        for width in (A4_PX,) if theme == "print" else (390, 768, 1400):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 768}
            opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        wide = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
        assert not opened.execute_script(wide)
        ground, ink = lightness(opened, "backgroundColor"), lightness(opened, "color")
        assert (ground < 0.2 and ink > 0.8) if theme == "dark" else (ground > 0.9 and ink < 0.2)
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_figure_opens_at_its_full_size(opened):
    figure = opened.find_element("css selector", ".figures img")
    before = figure.size["width"]
    opened.execute_script("arguments[0].click()", figure)
    large = opened.find_element("css selector", "dialog[open] img")
    assert large.size["width"] > before
    large.click()
    assert not opened.find_elements("css selector", "dialog[open]")


def test_page_of_networks_fits_a_phone(opened, tmp_path):
    study = build_figure_2_6(tmp_path / "figure_2_6")
    write_page(study)
    opened.get((study / "report.html").as_uri())
    assert pictures_load(opened)
    test_page_fits_a_phone_a_tablet_a_desk_and_paper(opened, "light")


def test_nothing_was_fetched_and_nothing_complained(opened):
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    # The browser's own start page fetches its parts; what the report asks for names the report.
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["documentURL"].startswith("file:")
    ]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
