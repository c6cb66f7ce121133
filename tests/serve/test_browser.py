"""The page at / in a real browser: Chromium without a window, driven by selenium, where both are installed."""

from __future__ import annotations

import json
import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
DRIVER = shutil.which("chromedriver")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not (DRIVER and BROWSER), reason="needs chromium and chromedriver")

OPTIONS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking"),
    *("no-first-run", "disable-component-update", "disable-sync", "disable-default-apps", "disable-extensions"),
)
#: What is asked of each model, in one field or two.
ASKED = {
    "classifier": ("a great movie", None),
    "tokens": ("the actor was in a film " * 4, None),
    "embedder": ("a good film", "the plot was bad\nhello world\n" + "w" * 200),
    "questions": ("who", "the plot was good and the actor was not very bad"),
    "masks": ("a [MASK] movie", None),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for each in (*OPTIONS, f"user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(f"--{each}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def look(browser, width: int, scheme: str) -> None:
    """As wide a window, light or dark; what was logged before is forgotten."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("browser", "performance"):
        browser.get_log(kind)


def wait(browser, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(f"return {condition}"))


def ask(browser, model: str, first: str, second: str | None) -> None:
    """Choose a model, fill in the fields, and wait for the answer."""
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", "model")).select_by_visible_text(model)
    for name, text in (("text1", first), ("text2", second)):
        if text is not None:
            browser.find_element("id", name).clear()
            browser.find_element("id", name).send_keys(text)
    browser.find_element("css selector", "button").click()
    wait(browser, "document.getElementById('time').textContent || document.getElementById('error').textContent")
    assert browser.find_element("id", "error").text == ""


def is_sound(browser, port: int) -> None:
    """Nothing is cut off at the side, nothing is asked of others, nothing went wrong."""
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth"), "wider than the window"
    assert [each for each in browser.get_log("browser") if each["level"] in ("WARNING", "SEVERE")] == []
    for each in browser.get_log("performance"):
        message = json.loads(each["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            assert url.startswith((f"http://127.0.0.1:{port}/", "data:")), url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_kind_of_model(browser, client, width, scheme, tmp_path):
    look(browser, width, scheme)
    browser.get(f"http://127.0.0.1:{client.port}/")
    wait(browser, "document.querySelectorAll('#model option').length > 1")
    assert browser.execute_script(f"return matchMedia('(prefers-color-scheme: {scheme})').matches")
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert ink == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)")
    for model, texts in ASKED.items():
        ask(browser, model, *texts)
        is_sound(browser, client.port)
        browser.save_screenshot(str(tmp_path / f"{model}-{width}-{scheme}.png"))
        found = browser.find_elements("css selector", "#answer mark" if model == "tokens" else "#answer > *")
        assert found or model == "questions"  # which may find no answer
        for mark in found if model == "tokens" else ():
            assert mark.value_of_css_property("background-color").startswith("rgba(")
            assert mark.find_element("css selector", "small").text in ("person", "place")
    browser.get(f"http://127.0.0.1:{client.port}/docs")
    wait(browser, "document.body.innerText.includes('/v1/embeddings')")
    is_sound(browser, client.port)
    browser.save_screenshot(str(tmp_path / f"docs-{width}-{scheme}.png"))
